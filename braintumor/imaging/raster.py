"""JPEG and PNG through Pillow."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from braintumor.imaging.frames import Decoded, Frame, Limits, check_size
from braintumor.imaging.rejection import Rejection, RejectionReason

_DEEP_MODES = {"I", "I;16", "I;16B", "I;16L", "F"}


def decode_raster(data: bytes, found: str, limits: Limits) -> Decoded | Rejection:
    """One frame, grey or RGB; the header's size is checked before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the lower one
            image = Image.open(io.BytesIO(data), formats=[found.upper()])
    except Image.DecompressionBombError:
        return Rejection(
            reason=RejectionReason.TOO_MANY_PIXELS, detail=f"the limit is {limits.max_pixels:,} pixels in all"
        )
    refused = check_size(*image.size, limits)
    if refused is not None:
        return refused
    try:
        image.load()
    except OSError as exc:
        is_truncated = "truncated" in str(exc) or "incomplete" in str(exc).lower()
        reason = RejectionReason.TRUNCATED if is_truncated else RejectionReason.CORRUPT
        return Rejection(reason=reason, detail=f"{found} of {image.size[0]} x {image.size[1]} pixels does not decode")
    return Decoded(format=found, frames=(Frame(index=0, pixels=_to_uint8(ImageOps.exif_transpose(image))),))


def _to_uint8(image: Image.Image) -> NDArray[np.uint8]:
    """Grey stays grey, 16 bits are scaled by their own range, everything else becomes RGB; transparency is black."""
    if image.mode in _DEEP_MODES:
        return _scaled(np.asarray(image, np.float64))
    if image.mode in {"L", "1", "LA"}:
        return np.asarray(image.convert("L"))
    if "transparency" in image.info or "A" in image.getbands():
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _scaled(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    return np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
