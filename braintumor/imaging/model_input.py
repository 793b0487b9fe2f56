"""A decoded file as a model sees it: all its frames, prepared, with their places in the file.

How many are in memory at once is bounded by frames, not by files, of which one has as many as sixty.
"""

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
"""Scans inferred together."""
_FRAMES_A_STEP = 64
"""A step that has so many takes no further scan: it ends with fewer than this and one scan's more."""
SECONDS_A_STEP = 10.0
"""A step that took so long takes no further scan, so that a few slow files do not keep others from being stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedScan:
    """Frames to score.

    Attributes:
        pixels: uint8 (F, S, S, 3).
        indexes: F places among all frames of the file, rising; not 0 to F - 1 where some were left out.
        is_volume: the file holds more than one frame, even if only one is scored.
        content_sha256: of the file, hex; ``None`` outside the ledger.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    indexes: tuple[int, ...]
    is_volume: bool
    content_sha256: str | None = None

    def frame(self, index: int) -> NDArray[np.uint8] | None:
        """The frame (S, S, 3) at a place in the file; ``None`` where it is not scored."""
        return self.pixels[self.indexes.index(index)] if index in self.indexes else None


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFile:
    """What scoring needs of a file; the attributes are those of ``Decoded``."""

    format: Format
    pixel_sha256: str
    scan: PreparedScan
    dicom: DicomIdentity | None = None


def decode_file(
    data: bytes, *, size: int, limits: Limits, decode: Callable[..., Decoded | Rejection]
) -> PreparedFile | Rejection:
    """Bytes -> frames as a model sees them, or why there are none, by ``decode``; none with text on them."""
    decoded = decode(data, limits=limits)
    if isinstance(decoded, Rejection):
        return decoded
    if any(has_burned_in_text(frame.pixels) for frame in decoded.frames):
        return Rejection(reason=RejectionReason.OVERLAID_TEXT, detail="a row of characters is drawn over the image")
    return PreparedFile(
        format=decoded.format,
        pixel_sha256=decoded.pixel_sha256,
        scan=to_model_input(decoded, size=size, content_sha256=sha256(data).hexdigest()),
        dicom=decoded.dicom,
    )


def to_model_input(decoded: Decoded, *, size: int, content_sha256: str | None = None) -> PreparedScan:
    """Every frame by ``prepare``, one after the other."""
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
    """Take the next readings to infer together, a bounded number of scans and frames; none at the end.

    ``scan_of`` gives a reading's scan, or ``None`` where it has no frames. After ``seconds`` the step ends with what it
    has, which is at least one reading.
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
    """Each item once the one behind it was made: so the next step is under way before this one is waited for.

    Where making the next item fails, the item before it comes first, and then the error.
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
