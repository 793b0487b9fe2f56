"""Draw the images of the review page: a frame, decoded in the decoder pool, and its activation map."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image
from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ObjectMissingError, ReviewError
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.activation_map import decode_map, upsample

THUMBNAIL = 96
"""Longest side of a thumbnail in pixels."""
_MAP = 256
"""Width and height of the drawn map in pixels. The browser enlarges the map further."""
_WEAK, _STRONG = np.array([200, 60, 0], np.float32), np.array([255, 225, 90], np.float32)
_STRONGEST, _FADE = 0.6, 1.5
"""Opacity of the largest map value, and the exponent of the opacity as a function of the value."""


def frame_png(engine: Engine, store: ObjectStore, *, scan_id: int, frame_index: int, size: int = 0) -> bytes:
    """Return a scored frame as PNG bytes, with at most ``size`` pixels per side. 0 means full size.

    Raises:
        ReviewError: there is no such frame, or it cannot be decoded.
        ObjectStoreError: S3 does not return the scored version of the object.
    """
    with transaction(engine) as connection:
        row = connection.execute(text(_LOCATION), {"scan": scan_id, "frame": frame_index}).one_or_none()
    if row is None:
        raise ReviewError(f"Scan {scan_id} has no prediction for frame {frame_index}.")
    uri = S3Uri(bucket=row.bucket, key=row.key)
    draw = _thumbnail if size else _frame
    return draw(store, uri, row.etag, frame_index, size)


def map_png(engine: Engine, *, scan_id: int, frame_index: int) -> bytes:
    """Return the activation map of the current prediction as a square, transparent PNG, to overlay on the frame.

    Raises ``ObjectMissingError`` if the frame has no prediction.
    """
    with transaction(engine) as connection:
        stored = connection.scalar(text(_MAP_OF), {"scan": scan_id, "frame": frame_index})
    if stored is None:
        raise ObjectMissingError(f"There is no activation map of frame {frame_index} of scan {scan_id}.")
    return _map_image(bytes(stored))


def _frame(store: ObjectStore, uri: S3Uri, etag: str, frame_index: int, size: int) -> bytes:
    drawn = default_pool().draw(_object(store, uri, etag), frame=frame_index, size=size)
    if isinstance(drawn, Rejection):
        raise ReviewError(f"This frame cannot be shown: {drawn.reason}, {drawn.detail}.")
    return drawn.png


@lru_cache(maxsize=2)
def _object(store: ObjectStore, uri: S3Uri, etag: str) -> bytes:
    """Return the bytes of an object in S3, from a cache, because the next requested frame is often in the same file."""
    return store.read(uri, etag=etag, max_bytes=Limits().max_bytes)


_thumbnail = lru_cache(maxsize=500)(_frame)
"""Draw a frame as ``_frame`` does, with a cache. ``frame_png`` still checks in Postgres that the frame exists."""


@lru_cache(maxsize=64)
def _map_image(stored: bytes) -> bytes:
    strength = upsample(decode_map(stored), height=_MAP, width=_MAP)[..., np.newaxis]  # (_MAP, _MAP, 1), 0 to 1
    color = _WEAK + (_STRONG - _WEAK) * strength
    opacity = 255 * _STRONGEST * strength**_FADE
    buffer = io.BytesIO()
    Image.fromarray(np.rint(np.concatenate([color, opacity], axis=2)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


_LOCATION = """
    select bucket, key, etag
    from scan_location
    where scan_id = :scan
      and exists (select from prediction where prediction.scan_id = :scan and frame_index = :frame)"""
_MAP_OF = """
    select activation_map
    from prediction
    join model_version using (model_version_id)
    join current_prediction using (scan_id, frame_index, model_name)
    where scan_id = :scan and frame_index = :frame"""
