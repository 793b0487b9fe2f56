"""Fit a model in the frozen stage or in fine-tuning.

The order of the batches depends only on seed and epoch, so a killed training can resume.

This module imports Keras at the top. Import this module only inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES
from braintumor.progress import progress
from braintumor.training.recipe import Recipe


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Provide the batches of each epoch from one view, which is one copy of all training images.

    The views take turns. The order of the images depends on seed and epoch. Set ``epoch`` before each epoch, or use the
    callback that ``follow`` returns. With ``mixup``, each image of a batch is mixed with another one of the batch.
    """

    def __init__(self, views: Sequence[NDArray[Any]], labels: NDArray[np.float32], recipe: Recipe) -> None:
        """Take the views and labels of N images.

        Args:
            views: arrays (N, ...) of the same N images.
            labels: the targets of the images (N, 4), as ``targets`` returns them.
            recipe: sets batch size, seed and mixup.
        """
        super().__init__()
        self._views, self._labels, self._recipe = views, labels, recipe
        self.epoch = 0

    @property
    def epoch(self) -> int:
        """Return the current epoch, counted from 0. Setting the epoch draws the order of its images."""
        return self._epoch

    @epoch.setter
    def epoch(self, number: int) -> None:
        self._epoch = number
        self._order = np.random.default_rng([self._recipe.seed, number]).permutation(len(self._labels))

    def __len__(self) -> int:
        return ceil(len(self._labels) / self._recipe.batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        size = self._recipe.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        inputs, labels = self._views[self.epoch % len(self._views)][chosen], self._labels[chosen]
        if not self._recipe.mixup:
            return inputs, labels
        random = np.random.default_rng([self._recipe.seed, self.epoch, index])
        shares = random.beta(self._recipe.mixup, self._recipe.mixup, len(chosen)).astype(np.float32)
        partners = random.permutation(len(chosen))
        return _mixed(inputs, partners, shares), _mixed(labels, partners, shares)

    def follow(self) -> Any:
        """Return a Keras callback that sets ``epoch`` when an epoch begins."""

        def begin(epoch: int, _logs: dict[str, float] | None) -> None:
            self.epoch = epoch

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin)


def _mixed(values: NDArray[Any], partners: NDArray[np.intp], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of values (B, ...) and their partners, with the weights ``shares`` (B,) and 1 - shares."""
    weight = shares.reshape(-1, *[1] * (values.ndim - 1))
    return (values * weight + values[partners] * (1 - weight)).astype(np.float32, copy=False)


def fit(
    model: Any,
    recipe: Recipe,
    *,
    training: tuple[Sequence[NDArray[Any]], NDArray[np.int64]],
    validation: tuple[NDArray[Any], NDArray[np.int64]],
    epochs: range,
    callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Fit a model that was compiled with ``loss``, and return the metrics of each epoch.

    Args:
        model: maps a batch of a view to logits (N, 4).
        recipe: sets batch size, seed, label smoothing, mixup and class weights.
        training: views, which are arrays (N, ...) of the same N images, and labels (N,), which are positions in
            ``CLASSES``. Each epoch uses the next view.
        validation: one view (V, ...) of the validation images, and their labels (V,).
        epochs: range of the epochs to run, counted from 0. Callbacks can stop earlier.
        callbacks: Keras callbacks.

    Returns:
        Metric name -> one value per epoch.
    """
    (views, labels), (inputs, validation_labels) = training, validation
    batches = Batches(views, targets(labels, smoothing=recipe.label_smoothing), recipe)
    with progress(f"Training the {model.name}", len(batches) * len(epochs), unit="batches") as advance:
        result = model.fit(
            batches,
            validation_data=(inputs, targets(validation_labels)),
            validation_batch_size=recipe.batch_size,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            class_weight=class_weights(labels) if recipe.class_weights else None,
            callbacks=[batches.follow(), _count_batches(advance), *callbacks],
            shuffle=False,  # ``Batches`` shuffles
            verbose=0,
        )
    return {name: [float(value) for value in values] for name, values in result.history.items()}


def _count_batches(advance: Callable[[int], None]) -> Any:
    """Return a Keras callback that calls ``advance`` after each training batch."""
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance(1))
    callback.async_safe = True  # so that Keras does not wait for the metrics of each batch
    return callback


def targets(labels: NDArray[np.int64], *, smoothing: float = 0.0) -> NDArray[np.float32]:
    """Return one-hot targets (N, 4) for labels (N,), which are positions in ``CLASSES``.

    ``smoothing`` is the share of each label that is spread over all classes. Validation targets have none.
    """
    one_hot: NDArray[np.float32] = np.eye(len(CLASSES), dtype=np.float32)[labels]
    return one_hot * (1 - smoothing) + smoothing / len(CLASSES)


def loss() -> Any:
    """Return the Keras cross-entropy of logits (N, 4) against ``targets``."""
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def class_weights(labels: NDArray[np.int64]) -> dict[int, float]:
    """Return class position -> weight, the inverse frequency of the class among labels (N,).

    The mean weight over the images is 1.
    """
    counts = np.bincount(labels, minlength=len(CLASSES))
    return {position: len(labels) / (len(CLASSES) * max(int(count), 1)) for position, count in enumerate(counts)}
