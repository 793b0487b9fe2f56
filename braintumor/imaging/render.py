"""One frame of a file as a person sees it: a PNG made anew from its pixels, with nothing of the file's but these."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from braintumor.imaging.burned_in_text import has_burned_in_text
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits

_QUICK = 1
"""zlib's level: a picture is sent once, and over a hospital's own network."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """A frame as a PNG, gray or RGB, 8 bits."""

    png: bytes = field(repr=False)
    width: int
    height: int


def draw_frame(
    data: bytes, *, frame: int, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> DrawnFrame | Rejection:
    """Bytes -> the frame at a place in the file, or why there is none. None with text on it: it may be a name.

    Args:
        data: the file.
        frame: index among all frames of the file; one that is scored.
        size: most pixels of a side; 0: as large as it is.
        limits: of the file.
        decode: as ``frames.decode``.
    """
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    found = next((each.pixels for each in decoded.frames if each.index == frame), None)
    if found is None:
        return Rejection(reason=RejectionReason.CORRUPT, detail=f"frame {frame} is not among those that are scored")
    if has_burned_in_text(found):
        return Rejection(reason=RejectionReason.OVERLAID_TEXT, detail="a row of characters is drawn over the image")
    image = Image.fromarray(found)
    if size:
        image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_QUICK)
    return DrawnFrame(png=buffer.getvalue(), width=image.width, height=image.height)
