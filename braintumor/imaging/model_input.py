"""Convert decoded files to model input: the frames to score, resized, with their positions in the file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.burned_in_text import has_burned_in_text
from braintumor.imaging.decoding.dicom_header import DicomHeader
from braintumor.imaging.decoding.formats import Format
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.letterbox import letterbox

T = TypeVar("T")

_SCANS_A_STEP = 32
"""Largest number of scans in one inference step."""
_FRAMES_A_STEP = 64
"""Number of frames after which an inference step takes no further scan. The last scan may exceed this number."""
SECONDS_A_STEP = 10.0
"""Seconds after which an inference step takes no further scan, so that slow files do not delay other files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedScan:
    """The frames to score of one file, as model input.

    Attributes:
        pixels: uint8 (F, S, S, 3): frame, row, column, RGB channel. S is the model's input size.
        indexes: position of each of the F frames in the file, from 0, ascending. Frames that are not scored leave gaps.
        is_volume: whether the file contains more than one frame, even if only one is scored.
        content_sha256: sha256 of the file in hex digits, or ``None`` for a file without a row in the scan table.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    indexes: tuple[int, ...]
    is_volume: bool
    content_sha256: str | None = None

    def frame(self, index: int) -> NDArray[np.uint8] | None:
        """Return the frame (S, S, 3) at position ``index`` in the file, or ``None`` if that frame is not scored."""
        return self.pixels[self.indexes.index(index)] if index in self.indexes else None


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFile:
    """A decoded file as model input. ``format``, ``pixel_sha256`` and ``dicom`` are those of ``Decoded``."""

    format: Format
    pixel_sha256: str
    scan: PreparedScan
    dicom: DicomHeader | None = None


def decode_file(
    data: bytes, *, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> PreparedFile | Rejection:
    """Return the frames to score of a file as model input, ``size`` pixels per side, or a rejection.

    If text is drawn over one of these frames, the function rejects the whole file. ``decode`` is
    ``decoding.decode.decode`` or a function with the same signature.
    """
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    if any(has_burned_in_text(frame.pixels) for frame in decoded.frames):
        detail = "a row of characters is drawn over the image"
        return Rejection(RejectionReason.OVERLAID_TEXT, detail, dicom=decoded.dicom)
    return PreparedFile(
        format=decoded.format,
        pixel_sha256=decoded.pixel_sha256,
        scan=to_model_input(decoded, size=size, content_sha256=sha256(data).hexdigest()),
        dicom=decoded.dicom,
    )


def to_model_input(decoded: Decoded, *, size: int, content_sha256: str | None = None) -> PreparedScan:
    """Return every frame of a decoded file as model input, ``size`` pixels per side."""
    pixels = np.empty((len(decoded.frames), size, size, 3), np.uint8)
    for place, frame in enumerate(decoded.frames):
        pixels[place] = letterbox(frame.pixels, size=size)
    indexes = tuple(frame.index for frame in decoded.frames)
    return PreparedScan(
        pixels=pixels, indexes=indexes, is_volume=decoded.frame_count > 1, content_sha256=content_sha256
    )


def take_step(
    readings: Iterator[T], scan_of: Callable[[T], PreparedScan | None], *, seconds: float = math.inf
) -> list[T]:
    """Return the next items of ``readings`` for one inference step, or an empty list if no item is left.

    A reading is the caller's record of one file that was read. ``scan_of`` returns the scan of a reading, or ``None``
    if the file was not decoded. The function stops at the limit of scans, at the limit of frames, or after ``seconds``.
    It takes at least one reading.
    """
    end = time.monotonic() + seconds
    step: list[T] = []
    count_frame = 0
    for reading in readings:
        step.append(reading)
        scan = scan_of(reading)
        count_frame += 0 if scan is None else len(scan.indexes)
        if len(step) >= _SCANS_A_STEP or count_frame >= _FRAMES_A_STEP or time.monotonic() >= end:
            break
    return step


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items in order, and take the next item from ``items`` before the current item is yielded.

    Work on the next item has then already begun. If taking the next item raises an error, the function first yields the
    current item, and then raises the error.
    """
    source = iter(items)
    held = list(islice(source, 1))
    while held:
        try:
            following = list(islice(source, 1))
        except BaseException:
            yield held.pop()
            raise
        yield held.pop()
        held = following
