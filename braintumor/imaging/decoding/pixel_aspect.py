"""Pixels that are no squares: their sides in a DICOM header, and the resampling to squares for every format.

A picture of JPEG, PNG or TIFF keeps its pixels: docs/decisions/0035.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Spacing = tuple[float, float]
"""Width and height of a pixel, in one unit."""

SQUARE: Spacing = (1.0, 1.0)
_THIN, _LONGEST_STRETCH = 1.01, 10.0
"""Ratio of a pixel's sides: below, they count as equal. Above, the header is wrong, or the picture shows no anatomy."""


def usable_spacing(width: float, height: float) -> Spacing | None:
    """Give the sides of a pixel, or ``None`` where no pixel has such sides."""
    if not (math.isfinite(width) and math.isfinite(height)) or min(width, height) <= 0:
        return None
    return (width, height) if max(width, height) / min(width, height) <= _LONGEST_STRETCH else None


def square_size(columns: int, rows: int, spacing: Spacing) -> tuple[int, int]:
    """Columns and rows once the side with the longer pixels is stretched, so that a head keeps its proportions."""
    unit = min(spacing)
    if max(spacing) / unit < _THIN:
        return columns, rows
    return round(columns * spacing[0] / unit), round(rows * spacing[1] / unit)


def with_square_pixels(pixels: NDArray[np.uint8], spacing: Spacing) -> NDArray[np.uint8]:
    """Resample (H, W) or (H, W, 3) so that its pixels are squares."""
    rows, columns = pixels.shape[:2]
    size = square_size(columns, rows, spacing)
    if size == (columns, rows):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
