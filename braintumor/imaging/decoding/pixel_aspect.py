"""Resample images to square pixels. JPEG, PNG and TIFF images keep their pixels: docs/decisions/0035."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Spacing = tuple[float, float]
"""Width and height of a pixel in the same unit."""

SQUARE: Spacing = (1.0, 1.0)
_THIN, _LONGEST_STRETCH = 1.01, 10.0
"""Ratios of a pixel's sides: below the first they count as equal, above the second the header is wrong."""


def usable_spacing(width: float, height: float) -> Spacing | None:
    """Return the width and height of a pixel, or ``None`` if these are impossible."""
    if not (math.isfinite(width) and math.isfinite(height)) or min(width, height) <= 0:
        return None
    return (width, height) if max(width, height) / min(width, height) <= _LONGEST_STRETCH else None


def square_size(columns: int, rows: int, spacing: Spacing) -> tuple[int, int]:
    """Return columns and rows with square pixels. The longer side of the pixels is stretched, so proportions stay."""
    unit = min(spacing)
    if max(spacing) / unit < _THIN:
        return columns, rows
    return round(columns * spacing[0] / unit), round(rows * spacing[1] / unit)


def with_square_pixels(pixels: NDArray[np.uint8], spacing: Spacing) -> NDArray[np.uint8]:
    """Resample an image (H, W) or (H, W, 3) to square pixels."""
    rows, columns = pixels.shape[:2]
    size = square_size(columns, rows, spacing)
    if size == (columns, rows):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
