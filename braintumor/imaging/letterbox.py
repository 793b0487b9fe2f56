"""The one resize: what every model sees, in training and in scoring alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.gray_levels import is_gray

PREPROCESSING = "letterbox-bilinear-2"
"""Version of how a file becomes the pixels that a model sees. It goes with every model and every prediction.

Change it with any change of these pixels. Version 2 shows a DICOM image with square pixels. ``prepare`` is as it was.
"""


def letterbox(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Fit an image into a black square: (H, W) or (H, W, 3) -> (size, size, 3), proportions kept, centered.

    Bilinear with antialiasing, as Pillow does it: the filter widens with the reduction. The image is resized before
    the black is added, so that black never bleeds into anatomy at the edge. Integer arithmetic throughout: the same
    pixels come out on every machine. Gray is repeated to three channels, and equals its RGB copy.
    """
    small = np.asarray(Image.fromarray(pixels).resize(_fitted(pixels.shape, size), Image.Resampling.BILINEAR))
    if is_gray(small):
        small = np.repeat(small[..., None], 3, axis=2)
    return _centered(small, size)


def _fitted(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Width and height of the image inside the square."""
    height, width = shape[:2]
    scale = size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _centered(small: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = small.shape[:2]
    square = np.zeros((size, size, *small.shape[2:]), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = small
    return square
