"""The pictures of the page: a frame, decoded by the guard and never in this process, and the map over it."""

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
"""Most pixels of a side."""
_MAP = 256
"""Pixels of the map's side: it has seven or so of its own, and the browser enlarges the rest."""
_WEAK, _STRONG = np.array([200, 60, 0], np.float32), np.array([255, 225, 90], np.float32)
_STRONGEST, _FADE = 0.6, 1.5
"""Opacity of the strongest evidence, and how much quicker than the evidence it fades."""


def frame_png(engine: Engine, store: ObjectStore, *, scan_id: int, frame_index: int, size: int = 0) -> bytes:
    """A frame that was scored, as a PNG: whole, or with ``size`` no larger than that.

    Raises:
        ReviewError: there is no such frame, or nothing of it can be shown.
        ObjectStoreError: S3 does not hand out the object at the version that was scored.
    """
    with transaction(engine) as connection:
        row = connection.execute(text(_LOCATION), {"scan": scan_id, "frame": frame_index}).one_or_none()
    if row is None:
        raise ReviewError(f"Scan {scan_id} has no answer for frame {frame_index}.")
    uri = S3Uri(bucket=row.bucket, key=row.key)
    draw = _thumbnail if size else _frame
    return draw(store, uri, row.etag, frame_index, size)


def map_png(engine: Engine, *, scan_id: int, frame_index: int) -> bytes:
    """What spoke for the answer that stands: a square, transparent PNG, to lie over the frame's square.

    Raises:
        ObjectMissingError: there is no such answer.
    """
    with transaction(engine) as connection:
        stored = connection.scalar(text(_MAP_OF), {"scan": scan_id, "frame": frame_index})
    if stored is None:
        raise ObjectMissingError(f"There is no activation map of frame {frame_index} of scan {scan_id}.")
    return _drawn(bytes(stored))


def _frame(store: ObjectStore, uri: S3Uri, etag: str, frame_index: int, size: int) -> bytes:
    found = default_pool().draw(_object(store, uri, etag), frame=frame_index, size=size)
    if isinstance(found, Rejection):
        raise ReviewError(f"This frame cannot be shown: {found.reason}, {found.detail}.")
    return found.png


@lru_cache(maxsize=2)
def _object(store: ObjectStore, uri: S3Uri, etag: str) -> bytes:
    """A file's bytes, kept for the next slice of it."""
    return store.read(uri, etag=etag, max_bytes=Limits().max_bytes)


_thumbnail = lru_cache(maxsize=500)(_frame)
"""A worklist comes back after each answer. Whether a row stands behind one is asked each time all the same."""


@lru_cache(maxsize=64)
def _drawn(stored: bytes) -> bytes:
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
