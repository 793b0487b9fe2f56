"""Distinguish masks and label maps from images. The voxels of a label map are numbers of regions, not intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_LABELS = 256
"""Largest number of different values in a label map. Atlases of the brain have up to about 200 labels."""
_FEW_LABELS, _LARGEST_OF_FEW = 16, 255
"""A label map of at most 16 labels has no label above 255. Larger values are intensities of an image."""
_SAME_AS_NEIGHBOR = 0.6
"""Least share of a label map's foreground voxels that equal the next voxel.

Label maps have shares from 0.6 to 0.95, images below 0.3.
"""
_SAMPLED = 100_000


def is_label_map(voxels: NDArray[Any]) -> bool:
    """Return whether a volume (I, J, K) has only two values, or few whole numbers in uniform regions."""
    step = int(np.ceil(np.cbrt(voxels.size / _SAMPLED)))
    sampled = np.unique(voxels[::step, ::step, ::step]).size
    if sampled > _MOST_LABELS:
        return False
    is_in_regions = max(_same_as_neighbor(voxels, axis) for axis in range(3)) >= _SAME_AS_NEIGHBOR
    if sampled > 2 and not is_in_regions:  # noqa: PLR2004 - values of a mask
        return False
    values = np.unique(voxels)
    if values.size <= 2 or not np.isfinite(values).all():  # noqa: PLR2004 - one value only is a blank image
        return values.size == 2  # noqa: PLR2004
    if values.size > _MOST_LABELS or (values != np.rint(values)).any() or not is_in_regions:
        return False
    return bool(values.size > _FEW_LABELS or np.abs(values.astype(np.float64)).max() <= _LARGEST_OF_FEW)


def _same_as_neighbor(voxels: NDArray[Any], axis: int) -> float:
    """Return the share of pairs of neighbors along an axis that have equal values. Pairs of zeros do not count."""
    along = np.moveaxis(voxels, axis, 0)
    one, other = along[1:], along[:-1]
    is_seen = (one != 0) | (other != 0)
    return float((one == other)[is_seen].mean()) if is_seen.any() else 0.0
