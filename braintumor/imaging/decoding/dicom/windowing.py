"""Convert stored values to displayed gray levels from 0 to 255.

DICOM applies three steps. The modality LUT (PS3.3 C.11.1) converts to the scanner's units by a table, or by slope and
intercept. The VOI LUT (C.11.2) applies a window or a table. The presentation (C.7.6.3.1.2) shows the lowest value of
MONOCHROME1 as white.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.dicom.lookup_tables import modality_table, voi_table
from braintumor.imaging.decoding.dicom.stored_values import is_padding
from braintumor.imaging.decoding.dicom.values import code_of, functional_group, number_of, numbers_of
from braintumor.imaging.decoding.gray_levels import displayed_range, scaled, to_uint8

_LEAST_SLOPE = 1e-20
"""Least absolute rescale slope. A slope nearer to 0 is invalid, because it makes all values equal."""
_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


def gray_to_uint8(
    stored: NDArray[Any],
    dataset: Any,
    *,
    is_inverted: bool,
    index: int = 0,
    fallback: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Convert stored values (H, W) to uint8 (H, W) by the rescale and window of frame ``index``.

    ``is_inverted`` says that low values are white. ``fallback`` is the displayed range if the object states no window.
    ``None`` uses this frame's percentiles.
    """
    fallback = fallback or range_without_window(stored, dataset, index=index)
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= stored.size:
        return _shown(stored, dataset, is_inverted=is_inverted, index=index, fallback=fallback)
    # a slice has a hundred times more pixels than different values
    possible = np.arange(lowest, highest + 1).astype(stored.dtype)
    levels = _shown(possible, dataset, is_inverted=is_inverted, index=index, fallback=fallback)
    return np.asarray(levels[np.subtract(stored, lowest, dtype=np.intp)])


def _shown(
    stored: NDArray[Any], dataset: Any, *, is_inverted: bool, index: int, fallback: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Return the gray levels of stored values, in their shape. The arguments are those of ``gray_to_uint8``."""
    values, padding = _rescaled(stored, dataset, index)
    shown = _voi(values, dataset, index=index, fallback=fallback)
    shown = 1 - shown if is_inverted else shown
    shown[padding] = 0  # background stays black if low values are white
    return to_uint8(shown)


def range_without_window(stored: NDArray[Any], dataset: Any, *, index: int) -> tuple[float, float] | None:
    """Return the percentile range of frame ``index`` after rescaling, or ``None`` if the object states a window."""
    if states_range(dataset, index):
        return None
    values, padding = _rescaled(stored, dataset, index)
    return displayed_range(values[~padding])


def states_range(dataset: Any, index: int) -> bool:
    """Return whether the object states a table or a usable window for frame ``index``."""
    return voi_table(dataset) is not None or _stated_window(dataset, index) is not None


def _rescaled(stored: NDArray[Any], dataset: Any, index: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values in the scanner's units, and the mask of padding, both in the shape of ``stored``."""
    table = modality_table(dataset)
    if table is not None:
        return table.look_up(stored).astype(np.float64), is_padding(stored, dataset)
    transformation = functional_group(dataset, "PixelValueTransformationSequence", index)
    slope = number_of(transformation, "RescaleSlope")
    values = stored.astype(np.float64)
    values *= slope if slope is not None and abs(slope) >= _LEAST_SLOPE else 1.0
    values += number_of(transformation, "RescaleIntercept") or 0.0
    return values, is_padding(stored, dataset)


def window(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """Map rescaled values to 0 (black) to 1 (white) by a window (C.11.2.1.2 and C.11.2.1.3).

    ``center`` and ``width`` are in the values' unit, and ``width`` is at least 1 for ``LINEAR``. ``function`` is
    ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp may be infinite, which gives 0
            exponential: NDArray[np.float64] = np.exp(-4 * (values - center) / width)
        return np.asarray(1 / (1 + exponential), np.float64)
    if function == "LINEAR_EXACT":
        return scaled(values, center - width / 2, center + width / 2)
    # DICOM's half-pixel convention: center 128 and width 256 keep 0 to 255 unchanged
    return scaled(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _voi(
    values: NDArray[np.float64], dataset: Any, *, index: int, fallback: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Map rescaled values of any shape to 0 (black) to 1 (white) by the object's table, else by a range.

    The range is the first window, else ``fallback``. If the object has a table or a window, ``fallback`` may be
    ``None``.
    """
    table = voi_table(dataset)
    if table is not None:
        return scaled(table.look_up(np.rint(values)).astype(np.float64), 0, table.white)  # C.11.2.1.1
    stated = _stated_window(dataset, index)
    if stated is not None:
        return window(values, *stated)
    assert fallback is not None
    return scaled(values, *fallback)


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
