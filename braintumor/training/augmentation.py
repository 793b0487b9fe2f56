"""Change training images at random with Keras layers. Validation and test images are never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.training.recipe import Augmentation

_BATCH = 64


def augmentation_layers(augmentation: Augmentation, *, seed: int) -> list[Any]:
    """Return one Keras layer for each random change that ``augmentation`` turns on.

    Each layer has its own seed, which is ``seed`` plus a fixed number.
    """
    import keras

    black = {"fill_mode": "constant", "fill_value": 0.0}  # the letterbox adds black too
    makers: dict[str, Callable[[int], Any]] = {
        "horizontal_flip": lambda seed: keras.layers.RandomFlip("horizontal", seed=seed),
        "rotation": lambda seed: keras.layers.RandomRotation(augmentation.rotation / 360, seed=seed, **black),
        "shift": lambda seed: keras.layers.RandomTranslation(
            augmentation.height_shift, augmentation.width_shift, seed=seed, **black
        ),
        "shear": lambda seed: keras.layers.RandomShear(x_factor=augmentation.shear, seed=seed, **black),
        "zoom": lambda seed: keras.layers.RandomZoom(augmentation.zoom, seed=seed, **black),
        "contrast": lambda seed: keras.layers.RandomContrast(augmentation.contrast, seed=seed),
    }
    is_wanted = {
        "horizontal_flip": augmentation.horizontal_flip,
        "rotation": augmentation.rotation > 0,
        "shift": augmentation.width_shift > 0 or augmentation.height_shift > 0,
        "shear": augmentation.shear > 0,
        "zoom": augmentation.zoom > 0,
        "contrast": augmentation.contrast > 0,
    }
    return [make(seed + number) for number, (name, make) in enumerate(makers.items()) if is_wanted[name]]


def augmented_views(frames: NDArray[np.uint8], augmentation: Augmentation, *, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield ``augmentation.views`` views of frames (N, S, S, 3). Each view is uint8 (N, S, S, 3).

    A view is a randomly changed copy of all frames. The frozen stage caches the features of each view.

    Args:
        frames: uint8 (N, S, S, 3).
        augmentation: the random changes.
        seed: seed of the random changes.
    """
    import keras

    layers = keras.Sequential([keras.Input(frames.shape[1:]), *augmentation_layers(augmentation, seed=seed)])
    for _ in range(augmentation.views):
        view = np.empty_like(frames)
        for start in range(0, len(frames), _BATCH):
            batch = layers(frames[start : start + _BATCH].astype(np.float32), training=True)
            view[start : start + _BATCH] = np.clip(np.rint(np.asarray(batch)), 0, 255)
        yield view
