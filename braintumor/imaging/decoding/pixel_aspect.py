"""Resample DICOM and NIfTI images to square pixels. Other images keep their pixels (docs/decisions/0035)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Spacing = tuple[float, float]
"""Width and height of a pixel in the same unit."""

SQUARE: Spacing = (1.0, 1.0)
_THIN, _LONGEST_STRETCH = 1.01, 10.0
"""Ratios of a pixel's longer side to its shorter side. Below the first ratio, the sides count as equal.

Above the second ratio, the header is wrong.
"""


def usable_spacing(width: float, height: float) -> Spacing | None:
    """Return width and height of a pixel, or ``None`` if they are not positive or their ratio is too large."""
    if not (math.isfinite(width) and math.isfinite(height)) or min(width, height) <= 0:
        return None
    return (width, height) if max(width, height) / min(width, height) <= _LONGEST_STRETCH else None


def square_size(columns: int, rows: int, spacing: Spacing) -> tuple[int, int]:
    """Return the columns and rows of an image after it is resampled to square pixels.

    The image is stretched along the longer side of its pixels, which keeps the proportions of the anatomy.
    """
    unit = min(spacing)
    if max(spacing) / unit < _THIN:
        return columns, rows
    return round(columns * spacing[0] / unit), round(rows * spacing[1] / unit)


def with_square_pixels(pixels: NDArray[np.uint8], spacing: Spacing) -> NDArray[np.uint8]:
    """Resample an image (H, W) or (H, W, 3), whose pixels have the width and height ``spacing``, to square pixels."""
    rows, columns = pixels.shape[:2]
    size = square_size(columns, rows, spacing)
    if size == (columns, rows):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
