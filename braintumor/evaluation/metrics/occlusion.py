"""Does hiding the marked place change the answer?

For each of a bounded number of correctly classified tumor images, a square is filled with the frame's median: once
around the strongest cell of the predicted class's activation map, once elsewhere, and the model answers again.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2 (they slide a
gray square over the whole image; here it covers one marked and one random place).
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
"""Two more answers each: about 25 s at the 4.9 frames/s that VGG16 was measured at on two cores."""
SEED = 20141


class Model(Protocol):
    """What answers: a ``LoadedModel``."""

    def predict(self, frames: NDArray[np.uint8]) -> Outputs:
        """Score ``frames`` uint8 (N, S, S, 3)."""


@dataclass(frozen=True, kw_only=True)
class HidingEffect:
    """What hiding one kind of place did to ``count`` images.

    Attributes:
        count: number of images.
        count_changed: of these, how many were then called another class.
        mean_drop: of the probability of the class predicted before, -1 to 1; negative where it rose.
    """

    count: int
    count_changed: int
    mean_drop: float

    @classmethod
    def between(cls, before: NDArray[np.floating], after: NDArray[np.floating]) -> Self:
        """Compare probabilities (N, 4) of the same images, N of 1 or more."""
        rows, called = np.arange(len(before)), before.argmax(axis=1)
        return cls(
            count=len(before),
            count_changed=int((after.argmax(axis=1) != called).sum()),
            mean_drop=float((before[rows, called] - after[rows, called]).mean()),
        )


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """The same images with the marked place hidden, and with another one hidden."""

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
    """Hide the marked place and another one, and compare the answers.

    Args:
        model: that gave ``outputs``, and answers again.
        frames: uint8 (N, S, S, 3).
        labels: (N,) positions in ``CLASSES``.
        outputs: of ``frames``.
        most: the first so many images that qualify, in the order given.
        seed: of the other places.

    Returns:
        ``None`` where no tumor image is classified correctly, or where a frame has no second place.
    """
    called = outputs.probability.argmax(axis=1)  # (N,)
    is_tumor = np.isin(labels, [label.position for label in TUMORS])
    chosen = np.flatnonzero((called == labels) & is_tumor)[:most]
    size = frames.shape[1]
    if len(chosen) == 0 or size < 2 * window_side(size):
        return None
    random = np.random.default_rng(seed)
    marked, elsewhere = [], []
    for index in chosen:
        place = _marked_place(outputs.activation_map[index, :, :, called[index]], size)
        marked.append(_hidden(frames[index], place))
        elsewhere.append(_hidden(frames[index], _other_place(frames[index], place, random)))
    before = outputs.probability[chosen]
    return Occlusion(marked=_effect(model, before, marked), elsewhere=_effect(model, before, elsewhere))


def window_side(size: int) -> int:
    """Side of the hidden square in pixels: a quarter of the frame's, never less than one cell of the map."""
    return max(STRIDE, size // 4)


def _effect(model: Model, before: NDArray[np.floating], hidden: Sequence[NDArray[np.uint8]]) -> HidingEffect:
    return HidingEffect.between(before, model.predict(np.stack(hidden)).probability)


def _marked_place(activation_map: NDArray[np.floating], size: int) -> tuple[int, int]:
    """Top left corner of the square around the strongest cell of a map (h, w), inside the frame."""
    side = window_side(size)
    row, column = np.unravel_index(activation_map.argmax(), activation_map.shape)
    top, left = (round((int(cell) + 0.5) * STRIDE - side / 2) for cell in (row, column))
    return min(max(top, 0), size - side), min(max(left, 0), size - side)


def _other_place(frame: NDArray[np.uint8], marked: tuple[int, int], random: np.random.Generator) -> tuple[int, int]:
    """A random square that does not touch the marked one.

    It is drawn from those brighter than the frame's mean, where there are any: the black around the head holds nothing
    that could be hidden, and would flatter the marked place.
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
    """Mean brightness of the square at every place of a frame (S, S, 3), by its top left corner."""
    side = window_side(frame.shape[0])
    gray = frame.mean(axis=2)
    sums = np.zeros((gray.shape[0] + 1, gray.shape[1] + 1))
    sums[1:, 1:] = gray.cumsum(axis=0).cumsum(axis=1)
    inside: NDArray[np.float64] = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    ) / side**2
    return inside


def _hidden(frame: NDArray[np.uint8], place: tuple[int, int]) -> NDArray[np.uint8]:
    """A copy of a frame (S, S, 3) with one square filled with its median, channel by channel."""
    side, (top, left) = window_side(frame.shape[0]), place
    copy = frame.copy()
    copy[top : top + side, left : left + side] = np.median(frame, axis=(0, 1))
    return copy
