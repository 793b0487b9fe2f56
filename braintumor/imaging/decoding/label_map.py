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
"""Least share of a label map's foreground voxels that equal the next voxel, in the median of the three axes.

Label maps have shares from 0.6 to 0.95, images below 0.3. Along one axis alone an image may have 1, because some
programs repeat slices.
"""
_SAMPLED = 100_000


def is_label_map(voxels: NDArray[Any]) -> bool:
    """Return whether a volume (I, J, K) has only two values, or few whole numbers in uniform regions."""
    step = int(np.ceil(np.cbrt(voxels.size / _SAMPLED)))
    sampled, counts = np.unique(voxels[::step, ::step, ::step], return_counts=True)
    if sampled.size > _MOST_LABELS:
        return False
    background = sampled[counts.argmax()]
    shares = sorted(_same_as_neighbor(voxels, axis, background) for axis in range(3))
    is_in_regions = shares[1] >= _SAME_AS_NEIGHBOR
    if sampled.size > 2 and not is_in_regions:  # noqa: PLR2004 - values of a mask
        return False
    values = np.unique(voxels)
    if values.size <= 2 or not np.isfinite(values).all():  # noqa: PLR2004 - one value only is a blank image
        return values.size == 2  # noqa: PLR2004
    if values.size > _MOST_LABELS or (values != np.rint(values)).any() or not is_in_regions:
        return False
    return bool(values.size > _FEW_LABELS or np.abs(values.astype(np.float64)).max() <= _LARGEST_OF_FEW)


def _same_as_neighbor(voxels: NDArray[Any], axis: int, background: Any) -> float:
    """Return the share of pairs of neighbors along an axis that have equal values, without pairs of ``background``."""
    along = np.moveaxis(voxels, axis, 0)
    one, other = along[1:], along[:-1]
    is_seen = (one != background) | (other != background)
    return float((one == other)[is_seen].mean()) if is_seen.any() else 0.0
