"""Measure whether hiding the place marked by the activation map changes the prediction.

The module makes two copies of each correctly classified tumor image. In each copy it fills one square with the frame's
median, and the model predicts the copy. In the first copy, the square is around the strongest cell of the predicted
class's activation map. In the second copy, the square is at a random place.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2. Zeiler and
Fergus slide a gray square over the whole image. This module hides one marked and one random place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import EvaluationError
from braintumor.labels import TUMORS
from braintumor.serving.backend import Outputs
from braintumor.training.recipe import STRIDE

MOST_IMAGES = 60
"""Largest number of images with hidden squares. Each needs two more predictions.

All predictions together take about 25 s at 4.9 frames/s, the speed of VGG16 on two cores.
"""
SEED = 20141


class Model(Protocol):
    """Describe the part of ``LoadedModel`` that this module uses."""

    def predict(self, frames: NDArray[np.uint8]) -> Outputs:
        """Return the outputs for ``frames``, uint8 (N, S, S, 3)."""


@dataclass(frozen=True, kw_only=True)
class HidingEffect:
    """Hold the effect of hiding one kind of place, marked or random.

    Attributes:
        count: number of images.
        count_changed: number of images whose predicted class changes.
        mean_drop: mean decrease of the probability of the originally predicted class, -1 to 1. Negative if this
            probability increases.
    """

    count: int
    count_changed: int
    mean_drop: float

    @classmethod
    def between(cls, before: NDArray[np.floating], after: NDArray[np.floating]) -> Self:
        """Return the effect from the probabilities (N, 4) of the same images before and after hiding, N >= 1."""
        rows, predicted = np.arange(len(before)), before.argmax(axis=1)
        return cls(
            count=len(before),
            count_changed=int((after.argmax(axis=1) != predicted).sum()),
            mean_drop=float((before[rows, predicted] - after[rows, predicted]).mean()),
        )


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """Hold the effects of hiding the marked place and a random place, in the same images."""

    marked: HidingEffect
    elsewhere: HidingEffect

    def __post_init__(self) -> None:
        if self.marked.count != self.elsewhere.count or self.marked.count < 1:
            raise EvaluationError(
                "Both places must be hidden in the same images, 1 or more. "
                f"Received: {self.marked.count} and {self.elsewhere.count}. Evaluate the model again."
            )


def occlude(
    model: Model,
    *,
    frames: NDArray[np.uint8],
    labels: NDArray[np.integer],
    outputs: Outputs,
    most: int = MOST_IMAGES,
    seed: int = SEED,
) -> Occlusion | None:
    """Measure the effects of hiding the marked place and a random place in correctly classified tumor images.

    Args:
        model: the model that predicted ``outputs``.
        frames: uint8 (N, S, S, 3).
        labels: (N,) positions in ``CLASSES``.
        outputs: the model's outputs for ``frames``.
        most: largest number of images. The first suitable images are used.
        seed: seed of the random places.

    Returns:
        The effects. ``None`` if no tumor image is classified correctly, or if a frame is too small for a second square.
    """
    predicted = outputs.probability.argmax(axis=1)  # (N,)
    is_tumor = np.isin(labels, [label.position for label in TUMORS])
    chosen = np.flatnonzero((predicted == labels) & is_tumor)[:most]
    size = frames.shape[1]
    if len(chosen) == 0 or size < 2 * window_side(size):
        return None
    random = np.random.default_rng(seed)
    marked, elsewhere = [], []
    for index in chosen:
        place = _marked_place(outputs.activation_map[index, :, :, predicted[index]], size)
        marked.append(_hidden(frames[index], place))
        elsewhere.append(_hidden(frames[index], _other_place(frames[index], place, random)))
    before = outputs.probability[chosen]
    return Occlusion(marked=_effect(model, before, marked), elsewhere=_effect(model, before, elsewhere))


def window_side(size: int) -> int:
    """Return the side of the hidden square in pixels: a quarter of the frame side ``size``, at least one map cell."""
    return max(STRIDE, size // 4)


def _effect(model: Model, before: NDArray[np.floating], hidden: Sequence[NDArray[np.uint8]]) -> HidingEffect:
    return HidingEffect.between(before, model.predict(np.stack(hidden)).probability)


def _marked_place(activation_map: NDArray[np.floating], size: int) -> tuple[int, int]:
    """Return the top left corner (row, column), in pixels, of the square that is hidden in a frame.

    The square is centered on the cell of the map with the highest value, and lies inside the frame.

    Args:
        activation_map: (h, w) of the predicted class.
        size: side of the frame in pixels.
    """
    side = window_side(size)
    row, column = np.unravel_index(activation_map.argmax(), activation_map.shape)
    top, left = (round((int(cell) + 0.5) * STRIDE - side / 2) for cell in (row, column))
    return min(max(top, 0), size - side), min(max(left, 0), size - side)


def _other_place(frame: NDArray[np.uint8], marked: tuple[int, int], random: np.random.Generator) -> tuple[int, int]:
    """Return the top left corner (row, column) in pixels of a random square that does not overlap the marked square.

    Squares brighter than the frame's mean are preferred. Hiding the black background has no effect. A square there
    would make the marked place look too important.

    Args:
        frame: uint8 (S, S, 3).
        marked: top left corner (row, column) of the marked square.
        random: source of the random choice.
    """
    means = _window_means(frame)  # (S - side + 1, S - side + 1)
    side = window_side(frame.shape[0])
    rows, columns = np.indices(means.shape)
    is_apart = (abs(rows - marked[0]) >= side) | (abs(columns - marked[1]) >= side)
    is_bright = is_apart & (means > frame.mean())
    places = np.argwhere(is_bright if is_bright.any() else is_apart)
    top, left = places[random.integers(len(places))]
    return int(top), int(left)


def _window_means(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean brightness of every square of a frame (S, S, 3).

    The position in the result is the top left corner (row, column) of the square.
    """
    side = window_side(frame.shape[0])
    gray = frame.mean(axis=2)
    sums = np.zeros((gray.shape[0] + 1, gray.shape[1] + 1))
    sums[1:, 1:] = gray.cumsum(axis=0).cumsum(axis=1)
    means: NDArray[np.float64] = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    ) / side**2
    return means


def _hidden(frame: NDArray[np.uint8], place: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a copy of a frame (S, S, 3) with one square filled with the median of each channel.

    ``place`` is the top left corner (row, column) of the square.
    """
    side, (top, left) = window_side(frame.shape[0]), place
    copy = frame.copy()
    copy[top : top + side, left : left + side] = np.median(frame, axis=(0, 1))
    return copy
