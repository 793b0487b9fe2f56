"""Draw one frame of a file as a new PNG. Only the pixels of the file reach the PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from braintumor.imaging.burned_in_text import has_burned_in_text
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits

_QUICK = 1
"""zlib's level. An image is sent once, over a hospital's internal network."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """A frame as a PNG of 8 bits, gray or RGB."""

    png: bytes = field(repr=False)
    width: int
    height: int


def draw_frame(
    data: bytes, *, frame: int, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> DrawnFrame | Rejection:
    """Draw one frame of a file, or return a rejection. A frame with text on it is rejected, because it may be a name.

    Args:
        data: the file.
        frame: index of a scored frame among all frames of the file.
        size: most pixels per side. 0 keeps the frame's size.
        limits: limits of the file.
        decode: function with the signature of ``decoding.decode.decode``.
    """
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    pixels = next((each.pixels for each in decoded.frames if each.index == frame), None)
    if pixels is None:
        return Rejection(RejectionReason.CORRUPT, f"frame {frame} is not one of the scored frames")
    if has_burned_in_text(pixels):
        return Rejection(RejectionReason.OVERLAID_TEXT, "a row of characters is drawn over the image")
    image = Image.fromarray(pixels)
    if size:
        image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_QUICK)
    return DrawnFrame(png=buffer.getvalue(), width=image.width, height=image.height)
