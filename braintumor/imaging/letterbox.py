"""Resize frames to the model's input size, in the same way for training and scoring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.gray_levels import is_gray

PREPROCESSING = "letterbox-bilinear-2"
"""Version of the conversion from a file to the model's input. Every model and every prediction stores this version.

Raise the version with any change of the converted pixels. Version 2 adds square pixels for DICOM. The function
``letterbox`` is the same in both versions.
"""


def letterbox(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Fit an image (H, W) or (H, W, 3) into a black square (size, size, 3), centered, with its proportions.

    The filter is Pillow's bilinear filter, which antialiases when it reduces an image. The image is resized before
    black is added, so that black never mixes with anatomy at the edge. All arithmetic is in integers, so every machine
    gives the same pixels. Gray is repeated to three channels, so a gray image and the same image in RGB give equal
    results.
    """
    small = np.asarray(Image.fromarray(pixels).resize(_fitted(pixels.shape, size), Image.Resampling.BILINEAR))
    if is_gray(small):
        small = np.repeat(small[..., None], 3, axis=2)
    return _centered(small, size)


def _fitted(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return width and height of the resized image in pixels, from the image's shape (H, W) or (H, W, 3)."""
    height, width = shape[:2]
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _centered(small: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = small.shape[:2]
    square = np.zeros((size, size, *small.shape[2:]), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = small
    return square
