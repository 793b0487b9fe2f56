"""One ``fit`` for both stages, on batches whose order hangs on seed and epoch alone: so a training can be resumed.

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
from braintumor.training.recipe import Recipe


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

    @property
    def epoch(self) -> int:
        """Counted from 0; setting it draws the epoch's order."""
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch = number
        self._order = np.random.default_rng([self._seed, number]).permutation(len(self._labels))

    def __len__(self) -> int:
        return ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._views[self.epoch % len(self._views)][chosen], self._labels[chosen]

    def follow(self) -> Any:
        """A callback that tells which epoch it is."""

        def begin(epoch: int, _logs: dict[str, float] | None) -> None:
            self.epoch = epoch

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin)


def fit(
    model: Any,
    recipe: Recipe,
    *,
    views: Sequence[NDArray[Any]],
    labels: NDArray[np.int64],
    validation: tuple[NDArray[Any], NDArray[np.int64]],
    epochs: int,
    initial_epoch: int = 0,
    callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Fit a model that was compiled with ``loss``; returns metric name -> one value per epoch.

    Args:
        model: from what the views hold to logits (N, 4).
        recipe: says batch size, seed, label smoothing and whether classes are weighed.
        views: arrays (N, ...) of the same N images; each epoch takes the next one.
        labels: (N,) positions in ``CLASSES``.
        validation: the same of the validation split, one view and its labels.
        epochs: upper bound, counted from the very first one.
        initial_epoch: how many are done.
        callbacks: of Keras.
    """
    inputs, known = validation
    smoothing = recipe.label_smoothing
    batches = Batches(
        views,
        targets(labels, smoothing=smoothing, is_training=True),
        batch_size=recipe.batch_size,
        seed=recipe.seed,
    )
    record = model.fit(
        batches,
        validation_data=(inputs, targets(known, smoothing=smoothing, is_training=False)),
        validation_batch_size=recipe.batch_size,
        initial_epoch=initial_epoch,
        epochs=epochs,
        class_weight=class_weights(labels) if recipe.class_weights else None,
        callbacks=[batches.follow(), *callbacks],
        shuffle=False,  # each epoch's batches have their order already
        verbose=0,
    )
    return {name: [float(value) for value in values] for name, values in record.history.items()}


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
