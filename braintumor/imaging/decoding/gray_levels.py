"""Map stored values of any format to the 8-bit gray levels of a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (0.5, 99.5)
"""Percentiles that become black and white if the file states no range of values.

With the highest value as white, a few very bright pixels would darken the brain.
"""
_WHITE, _WHITE_IN_16_BITS = 255, 0xFFFF
_BITS_SHOWN = 8
_SAMPLED = 2_000_000
"""Largest size of the sample that determines the common range of several pages: every n-th value of each page."""


def is_gray(pixels: NDArray[Any]) -> bool:
    """Return whether an image is gray (H, W), not color (H, W, 3)."""
    return pixels.ndim == 2  # noqa: PLR2004


def without_equal_channels(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return three equal channels (H, W) as one gray image (H, W), and other channels as (H, W, 3)."""
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return np.stack([red, green, blue], axis=2)


def deep_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert an image of more than 8 bits, gray or color, to uint8.

    The file states no range of values to display. A 16-bit PNG is an example. An 8-bit image that was widened to 16
    bits (v to 257 v or 256 v) is restored exactly. Other images are scaled by percentiles.
    """
    return stack_to_uint8([values])[0]


def stack_to_uint8(pages: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """Convert the pages of one file to uint8, with one range of values for all pages. The pages may differ in shape."""
    narrowed = _without_widening(pages)
    if narrowed is not None:
        return narrowed
    low, high = _common_range(pages)
    return [range_to_uint8(page, low, high) for page in pages]


def _without_widening(pages: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]] | None:
    """Return the original 8-bit pages if all pages were widened from 8 to 16 bits, else ``None``."""
    if any(page.dtype.kind not in "iu" or page.min() < 0 for page in pages):
        return None
    if not _WHITE < max(int(page.max()) for page in pages) <= _WHITE_IN_16_BITS:
        return None
    halves = [(page >> _BITS_SHOWN, page & _WHITE) for page in pages]
    if all(np.array_equal(high, low) for high, low in halves) or not any(low.any() for _, low in halves):
        return [high.astype(np.uint8) for high, _ in halves]
    return None


def _common_range(pages: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the values that become black and white: percentiles of one page, or of a sample of several pages."""
    step = math.ceil(sum(page.size for page in pages) / _SAMPLED) if len(pages) > 1 else 1
    sample = np.concatenate([page.ravel()[::step] for page in pages]) if len(pages) > 1 else pages[0]
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    if sample.dtype == np.float16:  # too coarse for interpolated percentiles
        sample = sample.astype(np.float32)
    return displayed_range(sample) if sample.size else (0.0, 0.0)


def displayed_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values that become black and white: the 0.5th and 99.5th percentile.

    If these are equal, return the lowest and highest value.
    """
    low, high = np.percentile(values, _PERCENTILES)
    return (float(low), float(high)) if low < high else (float(values.min()), float(values.max()))


def color_to_uint8(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Convert RGB (H, W, 3) of ``bits`` bits per sample to uint8. Three equal channels become one, (H, W)."""
    shown = values if bits == _BITS_SHOWN else to_uint8(values / (2**bits - 1))
    red, green, blue = (np.ascontiguousarray(shown[..., channel], np.uint8) for channel in range(3))
    return without_equal_channels(red, green, blue)


def range_to_uint8(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Convert values of any shape to uint8, with ``low`` as black and ``high`` as white. NaN becomes black."""
    known = np.nan_to_num(values.astype(np.float64), copy=False, nan=low, posinf=high, neginf=low)
    return to_uint8(scaled(known, low, high))


def scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Scale values to 0 at ``low`` and 1 at ``high``, and clip. If ``high <= low``, values above ``low`` become 1."""
    if high <= low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0, 1)


def to_uint8(shown: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map values from 0 to 1 to the gray levels 0 to 255."""
    return np.asarray(np.rint(shown * _WHITE), np.uint8)
