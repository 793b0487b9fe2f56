"""Which frames of a file with many are scored: those that show a head, at most so many, evenly spaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Frame, Limits

_BRIGHT = 26
"""Gray levels: a tenth of white. Air and its noise stay below."""
_LEAST_BRIGHT = 0.05
"""Share of a frame's pixels. The uppermost slices of a head have less, as have empty ones."""


def select_frames(frames: Iterable[Frame], limits: Limits) -> tuple[Frame, ...] | Rejection:
    """The frames to score, by rising index; one frame alone is taken as it is.

    A frame shows a head where at least 5% of its pixels are brighter than a tenth of white and not all are the same. Of
    more than ``max_scored_frames`` such frames the first, the last and evenly spaced ones between are taken. No chance
    and no content but this decides, so the same file always has the same frames.
    """
    found = list(frames)
    if len(found) == 1:
        return tuple(found)
    shown = [frame for frame in found if _shows_head(frame.pixels)]
    if not shown:
        return Rejection(reason=RejectionReason.BLANK_IMAGE, detail=f"none of {len(found)} frames shows a head")
    return tuple(_evenly(shown, limits.max_scored_frames))


def _shows_head(pixels: NDArray[np.uint8]) -> bool:
    gray = pixels if pixels.ndim == 2 else pixels.max(axis=2)  # noqa: PLR2004 - (H, W)
    return bool((gray >= _BRIGHT).mean() >= _LEAST_BRIGHT and gray.min() < gray.max())


def _evenly(frames: Sequence[Frame], count: int) -> list[Frame]:
    if len(frames) <= count:
        return list(frames)
    if count == 1:
        return [frames[len(frames) // 2]]
    return [frames[place * (len(frames) - 1) // (count - 1)] for place in range(count)]
