"""What a file says of an image beside its pixels' content: what slices group by."""

from __future__ import annotations

from collections.abc import Mapping

from braintumor.dataset.snapshot import SnapshotImage
from braintumor.imaging.frames import Decoded, decode
from braintumor.imaging.rejection import Rejection
from braintumor.objectstore import ObjectStore, S3Uri

Attributes = Mapping[str, Mapping[str, str]]
"""sha256 of an image's bytes -> attribute -> value."""

_BANDS = ((256, "256 px or less"), (512, "257 to 512 px"))
_LARGEST_BAND = "513 px or more"
_GREY = 2
"""Dimensions of a grey image: (H, W)."""


def read_attributes(store: ObjectStore, images: tuple[SnapshotImage, ...]) -> dict[str, dict[str, str]]:
    """Read every image's file again and say what it is: ``format``, ``colour`` and ``long side``.

    A file that does not decode any more has none.
    """
    decoded = store.concurrently(lambda image: decode(store.read(S3Uri.parse(image.image_uri))), images)
    return {
        image.image_sha256: {} if isinstance(found, Rejection) else file_attributes(found)
        for image, found in zip(images, decoded, strict=True)
    }


def file_attributes(decoded: Decoded) -> dict[str, str]:
    """Format, grey or colour, and the band of the long side of a file's first frame."""
    pixels = decoded.frames[0].pixels
    return {
        "format": decoded.format,
        "colour": "grey" if pixels.ndim == _GREY else "colour",
        "long side": _band(max(pixels.shape[:2])),
    }


def _band(side: int) -> str:
    return next((name for most, name in _BANDS if side <= most), _LARGEST_BAND)
