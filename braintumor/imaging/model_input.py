"""Convert decoded files to model input: all frames of a file, with their positions in the file."""

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
from braintumor.imaging.decoding.formats import Format
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, DicomIdentity, Limits
from braintumor.imaging.letterbox import letterbox

T = TypeVar("T")

_SCANS_A_STEP = 32
"""Most scans per inference step."""
_FRAMES_A_STEP = 64
"""Number of frames after which an inference step takes no further scan. The last scan may exceed this number."""
SECONDS_A_STEP = 10.0
"""Seconds after which an inference step takes no further scan, so that slow files do not delay other files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedScan:
    """The scored frames of one file, as model input.

    Attributes:
        pixels: uint8 (F, S, S, 3): frame, row, column, RGB channel. S is the model's input size.
        indexes: position of each of the F frames in the file, from 0, ascending, with gaps for frames that are not
            scored.
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
    """A decoded file as model input. ``format``, ``pixel_sha256`` and ``dicom`` equal the attributes of ``Decoded``."""

    format: Format
    pixel_sha256: str
    scan: PreparedScan
    dicom: DicomIdentity | None = None


def decode_file(
    data: bytes, *, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> PreparedFile | Rejection:
    """Return the scored frames of a file as model input, ``size`` pixels per side, or a rejection.

    Text that is drawn over one of the frames rejects the whole file. ``decode`` is ``decoding.decode.decode`` or has
    its signature.
    """
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    if any(has_burned_in_text(frame.pixels) for frame in decoded.frames):
        return Rejection(RejectionReason.OVERLAID_TEXT, "a row of characters is drawn over the image")
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
    """Return the next readings for one inference step, or an empty list at the end of ``readings``.

    A step has a limited number of scans and frames. After ``seconds`` it ends with the readings so far, at least one.
    ``scan_of`` returns the scan of a reading, or ``None`` if the reading has no frames.
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
    """Yield each item after the next item was taken from ``items``, so that work on the next item has begun.

    An error of the next item is raised after the current item is yielded.
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
