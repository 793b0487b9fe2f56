"""Select the frames to score: a limited number of evenly spaced frames that show a head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.gray_levels import is_gray
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Frame, Limits

_BRIGHT = 26
"""Least gray level of a bright pixel, a tenth of white. Air and its noise stay below this level."""
_LEAST_BRIGHT = 0.05
"""Least share of bright pixels in a frame that shows a head. The uppermost and empty slices have less."""


def select_frames(frames: Iterable[Frame], limits: Limits) -> tuple[Frame, ...] | Rejection:
    """Return the frames to score, in ascending order of index, or a rejection. A single frame is always returned.

    A frame shows a head if its pixels differ and at least 5% of them reach a tenth of white. Of more than
    ``limits.max_scored_frames`` such frames, the first, the last and evenly spaced frames between them are returned.
    The same file always has the same frames.
    """
    candidates = list(frames)
    if len(candidates) == 1:
        return tuple(candidates)
    heads = [frame for frame in candidates if _shows_head(frame.pixels)]
    if not heads:
        return Rejection(RejectionReason.BLANK_IMAGE, f"none of {len(candidates)} frames shows a head")
    return tuple(_evenly_spaced(heads, limits.max_scored_frames))


def _shows_head(pixels: NDArray[np.uint8]) -> bool:
    gray = pixels if is_gray(pixels) else pixels.max(axis=2)
    return bool((gray >= _BRIGHT).mean() >= _LEAST_BRIGHT and gray.min() < gray.max())


def _evenly_spaced(frames: Sequence[Frame], count: int) -> list[Frame]:
    if len(frames) <= count:
        return list(frames)
    if count == 1:
        return [frames[len(frames) // 2]]
    return [frames[place * (len(frames) - 1) // (count - 1)] for place in range(count)]
