"""The one resize: what every model sees, in training and in scoring alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING = "letterbox-bilinear-1"
"""Fingerprint of ``prepare``; goes with every model and every prediction. Change it with any change of the pixels."""


def prepare(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Fit an image into a black square: (H, W) or (H, W, 3) -> (size, size, 3), proportions kept, centred.

    Bilinear with antialiasing, as Pillow does it: the filter widens with the reduction.
    """
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BILINEAR))
    if small.ndim == 2:  # noqa: PLR2004
        small = np.repeat(small[..., None], 3, axis=2)
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square
