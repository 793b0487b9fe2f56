"""Training data in batches whose order hangs on the seed and the epoch alone, so that a training can be resumed.

Imports keras: import this where it is used, inside a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """One view an epoch, in an order of its own; the views in turn.

    Set ``epoch`` before each epoch (``follow`` is a callback that does).
    """

    def __init__(self, views: Sequence[NDArray[Any]], labels: NDArray[Any], *, batch_size: int, seed: int) -> None:
        """Views are arrays (N, ...) of the same N images; labels (N, ...)."""
        super().__init__()
        self._views, self._labels = views, labels
        self._batch_size, self._seed = batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._labels))
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._views[self.epoch % len(self._views)][chosen], self._labels[chosen]

    def follow(self) -> Any:
        """A callback that tells which epoch it is."""

        def begin(epoch: int, _logs: dict[str, float] | None) -> None:
            self.epoch = epoch

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin)


def targets(labels: NDArray[np.int64], *, smoothing: float, is_training: bool) -> NDArray[Any]:
    """Labels (N,) for a sparse loss; with smoothing (N, 4), spread over the classes in training only."""
    if smoothing == 0:
        return labels
    share = smoothing if is_training else 0.0
    certain: NDArray[np.float32] = np.eye(len(CLASSES), dtype=np.float32)[labels]
    return certain * (1 - share) + share / len(CLASSES)


def loss(*, smoothing: float) -> Any:
    """Cross-entropy on logits for the labels that ``targets`` makes."""
    kind = keras.losses.CategoricalCrossentropy if smoothing else keras.losses.SparseCategoricalCrossentropy
    return kind(from_logits=True)


def class_weights(labels: NDArray[np.int64]) -> dict[int, float]:
    """Inverse frequencies of labels (N,), with mean 1 over the images."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    return {position: len(labels) / (len(CLASSES) * max(int(count), 1)) for position, count in enumerate(counts)}
