"""Resize frames to the model's input size, in the same way for training and scoring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.gray_levels import is_gray

PREPROCESSING = "letterbox-bilinear-2"
"""Version of the conversion from a file to the model's input, stored with every model and prediction.

Raise the version with every change that alters the converted pixels. Version 2 resamples DICOM images to square pixels.
"""


def letterbox(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Return an image (H, W) or (H, W, 3), resized and centered in a black square (size, size, 3).

    The function keeps the image's proportions, and repeats gray in three channels. Pillow's bilinear filter
    antialiases. The function resizes the image before it adds black, so that black never mixes with anatomy at the
    edge. Arithmetic is in integers, so every machine gives the same pixels.
    """
    small = np.asarray(Image.fromarray(pixels).resize(_fitted(pixels.shape, size), Image.Resampling.BILINEAR))
    height, width = small.shape[:2]
    square = np.zeros((size, size, 3), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    for channel in range(3):  # a third of the time of one broadcast assignment
        square[top : top + height, left : left + width, channel] = small if is_gray(small) else small[..., channel]
    return square


def _fitted(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return width and height of the resized image in pixels, from the image's shape (H, W) or (H, W, 3)."""
    height, width = shape[:2]
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))
