"""Stored values -> what a viewer shows, 0 to 255.

DICOM's chain is: modality LUT (PS3.3 C.11.1: rescale to the scanner's units), VOI LUT (C.11.2: window or table),
presentation (C.7.6.3.1.2: MONOCHROME1 shows its lowest value white).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.dicom.lookup_tables import LookupTable, voi_table
from braintumor.imaging.decoding.dicom.stored_values import is_padding
from braintumor.imaging.decoding.dicom.values import code_of, items_of, number_of, numbers_of

_PERCENTILES = (0.5, 99.5)
"""Displayed range where nobody names one: a few hot pixels do not darken the brain."""
_WHITE = 255
_WHITE_IN_16_BITS = 0xFFFF
_BITS_SHOWN = 8
_SAMPLED = 2_000_000
"""Values that the range of several pages is taken from, at most: every n-th of each page."""
_LEAST_SLOPE = 1e-20
"""A rescale slope nearer to 0 than this is junk: it makes all values one."""
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


def is_grey(pixels: NDArray[Any]) -> bool:
    """Whether an image is (H, W), and not (H, W, 3)."""
    return pixels.ndim == 2  # noqa: PLR2004


def without_equal_channels(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Three channels (H, W) -> (H, W) where they are all the same, else (H, W, 3)."""
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return np.stack([red, green, blue], axis=2)


def deep_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey or color of more than 8 bits without a stated range, as in a 16-bit PNG -> uint8 of the same shape.

    An 8-bit image that was widened to 16 (v -> 257 v, or 256 v) comes back exactly; anything else is shown by
    percentiles.
    """
    return stack_to_uint8([values])[0]


def stack_to_uint8(pages: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """Show pages of one file by one range, as ``deep_to_uint8`` shows one image. Their shapes may differ."""
    narrowed = _without_widening(pages)
    if narrowed is not None:
        return narrowed
    low, high = _common_range(pages)
    return [range_to_uint8(page, low, high) for page in pages]


def _without_widening(pages: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]] | None:
    """The 8 bits that were widened to 16 on every page, or ``None``."""
    if not all(_is_in_16_bits(page) for page in pages) or max(int(page.max()) for page in pages) <= _WHITE:
        return None
    halves = [(page >> _BITS_SHOWN, page & _WHITE) for page in pages]
    if all(np.array_equal(high, low) for high, low in halves) or not any(low.any() for _, low in halves):
        return [high.astype(np.uint8) for high, _ in halves]
    return None


def _common_range(pages: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The percentiles of one page, or of a sample of several. Values that are no number do not count."""
    step = math.ceil(sum(page.size for page in pages) / _SAMPLED) if len(pages) > 1 else 1
    sample = np.concatenate([page.ravel()[::step] for page in pages]) if len(pages) > 1 else pages[0]
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    if sample.dtype == np.float16:  # too coarse for what lies between two percentiles
        sample = sample.astype(np.float32)
    return displayed_range(sample) if sample.size else (0.0, 0.0)


def _is_in_16_bits(values: NDArray[Any]) -> bool:
    return bool(values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= _WHITE_IN_16_BITS)


def displayed_range(values: NDArray[Any]) -> tuple[float, float]:
    """The 0.5th and 99.5th percentile; lowest and highest where those two are the same."""
    low, high = np.percentile(values, _PERCENTILES)
    return (float(low), float(high)) if low < high else (float(values.min()), float(values.max()))


def colour_to_uint8(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of so many bits a sample -> uint8, grey where its channels are equal."""
    shown = values if bits == _BITS_SHOWN else _to_uint8(values / (2**bits - 1))
    red, green, blue = (np.ascontiguousarray(shown[..., channel], np.uint8) for channel in range(3))
    return without_equal_channels(red, green, blue)


def grey_to_uint8(
    stored: NDArray[Any],
    dataset: Any,
    *,
    is_inverted: bool,
    index: int = 0,
    unstated: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """DICOM's stored values (H, W) -> uint8 (H, W), by the rescale and window that its ``dataset`` states.

    Args:
        stored: of frame ``index``.
        dataset: the object.
        is_inverted: whether low is white.
        index: the frame whose functional groups count.
        unstated: the range to show where no window is stated; ``None``: this frame's own percentiles.
    """
    values, padding = _rescaled(stored, dataset, index)
    shown = _voi(values, dataset, padding, index=index, unstated=unstated)
    shown = 1 - shown if is_inverted else shown
    shown[padding] = 0  # background, also where low is white
    return _to_uint8(shown)


def unstated_range(stored: NDArray[Any], dataset: Any, *, index: int) -> tuple[float, float] | None:
    """The percentiles of frame ``index``, rescaled, where the object states no window for it, else ``None``."""
    if voi_table(dataset) is not None or _stated_window(dataset, index) is not None:
        return None
    values, padding = _rescaled(stored, dataset, index)
    return displayed_range(values[~padding])


def range_to_uint8(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Values of any shape -> uint8, ``low`` black and ``high`` white. What is no number is black."""
    known = np.nan_to_num(values.astype(np.float64), copy=False, nan=low, posinf=high, neginf=low)
    return _to_uint8(_scaled(known, low, high))


def functional_group(dataset: Any, name: str, index: int = 0) -> Any:
    """Where a frame's attribute stands: in an enhanced object's functional group (C.7.6.16), else in ``dataset``."""
    of_frame = items_of(dataset, "PerFrameFunctionalGroupsSequence")[index : index + 1]
    for group in (*of_frame, *items_of(dataset, "SharedFunctionalGroupsSequence")):
        items = items_of(group, name)
        if items:
            return items[0]
    return dataset


def _rescaled(stored: NDArray[Any], dataset: Any, index: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values in the scanner's units, and which of them are padding."""
    transformation = functional_group(dataset, "PixelValueTransformationSequence", index)
    slope = number_of(transformation, "RescaleSlope")
    values = stored.astype(np.float64)
    values *= slope if slope is not None and abs(slope) >= _LEAST_SLOPE else 1.0
    values += number_of(transformation, "RescaleIntercept") or 0.0
    return values, is_padding(stored, dataset)


def window(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Values -> 0..1 (black to white) through a window (C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: rescaled values, of any shape.
        center: the window's middle, in the values' unit.
        width: the window's width; at least 1 for ``LINEAR``.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp of a far value is infinite, and its share of white is 0
            exponential: NDArray[np.float64] = np.exp(-4 * (values - center) / width)
        return np.asarray(1 / (1 + exponential), np.float64)
    if function == "LINEAR_EXACT":
        return _scaled(values, center - width / 2, center + width / 2)
    # DICOM's half-pixel convention: center 128 and width 256 show 0..255 as they are
    return _scaled(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _voi(
    values: NDArray[np.float64],
    dataset: Any,
    padding: NDArray[np.bool_],
    *,
    index: int,
    unstated: tuple[float, float] | None,
) -> NDArray[np.float64]:
    """0..1 by the object's table, else its first window, else ``unstated``, else percentiles of what is no padding."""
    table = voi_table(dataset)
    if table is not None:
        return _through_table(values, table)
    stated = _stated_window(dataset, index)
    if stated is not None:
        return window(values, *stated)
    return _scaled(values, *(unstated or displayed_range(values[~padding])))


def _stated_window(dataset: Any, index: int) -> tuple[float, float, str] | None:
    """Return center, width and function of a frame's first usable window, or ``None``."""
    voi = functional_group(dataset, "FrameVOILUTSequence", index)
    stated = code_of(voi, "VOILUTFunction")
    function = stated if stated in _FUNCTIONS else "LINEAR"
    least = 1 if function == "LINEAR" else 1e-9
    for center, width in zip(numbers_of(voi, "WindowCenter"), numbers_of(voi, "WindowWidth"), strict=False):
        if center is not None and width is not None and width >= least:
            return center, width, function
    return None


def _through_table(values: NDArray[np.float64], table: LookupTable) -> NDArray[np.float64]:
    """Show rescaled values through a VOI LUT (C.11.2.1.1)."""
    return _scaled(table.look_up(np.rint(values)).astype(np.float64), 0, table.white)


def _scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """``low`` and below -> 0, ``high`` and above -> 1. A range of no width is a step."""
    if high <= low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0, 1)


def _to_uint8(shown: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(shown * _WHITE), np.uint8)
