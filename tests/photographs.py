"""Create images that are not MRI: parts of the two photographs that scikit-learn ships."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

PHOTOGRAPHS = ("china.jpg", "flower.jpg")


def crops(name: str, count: int, *, is_gray: bool) -> list[NDArray[np.uint8]]:
    """Return square parts of a photograph, 96 to 400 pixels wide."""
    photograph, rng = load_sample_image(name), np.random.default_rng(3)
    result = []
    for side in rng.integers(96, 400, count):
        top, left = (rng.integers(0, whole - side) for whole in photograph.shape[:2])
        part = Image.fromarray(photograph[top : top + side, left : left + side])
        result.append(np.asarray(part.convert("L") if is_gray else part))
    return result
