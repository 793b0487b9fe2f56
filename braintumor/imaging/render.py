"""Draw one frame of a file as a new PNG. The PNG contains only pixels of the file, and no metadata."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from braintumor.imaging.burned_in_text import has_burned_in_text
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits

_QUICK = 1
"""The fastest compression level of zlib. It suffices, because a PNG is sent once, over the hospital's own network."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """A frame as a PNG with 8 bits per channel, gray or RGB. ``width`` and ``height`` are in pixels."""

    png: bytes = field(repr=False)
    width: int
    height: int


def draw_frame(
    data: bytes, *, frame: int, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> DrawnFrame | Rejection:
    """Return one frame of a file as a PNG, or a rejection.

    A frame with text drawn over it is rejected, because the text may be a name. ``frame`` is the index among all frames
    of the file. ``size`` is the largest width and height of the PNG in pixels, or 0 to keep the frame's size.
    ``decode`` is ``decoding.decode.decode`` or a function with the same signature.
    """
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    pixels = next((each.pixels for each in decoded.frames if each.index == frame), None)
    if pixels is None:
        return _not_scored(decoded, frame, limits)
    if has_burned_in_text(pixels):
        return Rejection(RejectionReason.OVERLAID_TEXT, "a row of characters is drawn over the image")
    image = Image.fromarray(pixels)
    if size:
        image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_QUICK)
    return DrawnFrame(png=buffer.getvalue(), width=image.width, height=image.height)


def _not_scored(decoded: Decoded, frame: int, limits: Limits) -> Rejection:
    """Return the reason why a frame is not one of the scored frames. ``select_frames`` has the rule."""
    if frame >= decoded.frame_count:
        return Rejection(RejectionReason.CORRUPT, f"the file has no frame {frame}, it has {decoded.frame_count}")
    if len(decoded.frames) < limits.max_scored_frames:
        return Rejection(RejectionReason.BLANK_IMAGE, f"frame {frame} shows no head, so it is not scored")
    most = f"at most {limits.max_scored_frames} frames of a file are scored"
    return Rejection(RejectionReason.TOO_MANY_FRAMES, f"{most}, and frame {frame} is not one of them")
