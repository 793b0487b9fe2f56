"""Fit the head on cached features, with dropout, softmax, Adam, and early stopping on the validation loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES
from braintumor.training.recipe import Recipe

_log = logging.getLogger(__name__)
_LOG_INTERVAL = 10
_MIN_DEVIATION = 1e-3
"""Factor of the mean standard deviation of all channels. The product is added to the deviation of each channel.

The sum keeps a channel that is almost always 0 from being amplified.
"""


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """Hold the head's weights of the epoch with the lowest validation loss.

    Attributes:
        kernel: float32 (d, 4), for features that are not standardized.
        bias: float32 (4,).
        history: metric name -> one value per epoch.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    history: dict[str, list[float]]


def fit_head(
    recipe: Recipe,
    *,
    views: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    validation_features: NDArray[np.float32],
    validation_labels: NDArray[np.int64],
    log_epochs: bool = False,
) -> FittedHead:
    """Fit the head on cached features, and return its weights of the epoch with the lowest validation loss.

    The features are standardized during the fit, because their scales differ by orders of magnitude. One learning rate
    does not suit all scales. The returned kernel and bias include the standardization.

    Args:
        recipe: sets the hyperparameters of the frozen stage.
        views: arrays (M, d) of features of the same M images. Each epoch uses the next view.
        labels: (M,) positions in ``CLASSES``.
        validation_features: (V, d).
        validation_labels: (V,) positions in ``CLASSES``.
        log_epochs: whether to log the metrics of every tenth epoch.
    """
    import keras

    from braintumor.training.fit import fit

    mean, scale = standardization(views[0])
    model = _head_model(recipe, dim=views[0].shape[1])
    history = fit(
        model,
        recipe,
        training=([(view - mean) / scale for view in views], labels),
        validation=((validation_features - mean) / scale, validation_labels),
        epochs=range(recipe.epochs),
        callbacks=[
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=recipe.patience, restore_best_weights=True),
            *([keras.callbacks.LambdaCallback(on_epoch_end=_log_epoch)] if log_epochs else []),
        ],
    )
    weights, bias = model.get_layer("head").get_weights()
    kernel = weights / scale[:, None]
    return FittedHead(kernel=kernel.astype(np.float32), bias=(bias - mean @ kernel).astype(np.float32), history=history)


def standardization(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and scale (d,) of each channel of features (N, d).

    The scale is the standard deviation plus a small number.
    """
    deviation = features.std(axis=0)
    return features.mean(axis=0), deviation + _MIN_DEVIATION * deviation.mean()


def _head_model(recipe: Recipe, *, dim: int) -> Any:
    import keras

    from braintumor.training.fit import loss

    model = keras.Sequential(
        [
            keras.Input((dim,)),
            keras.layers.Dropout(recipe.dropout, seed=recipe.seed),
            keras.layers.Dense(len(CLASSES), kernel_regularizer=keras.regularizers.L2(recipe.l2), name="head"),
        ],
        name="head",
    )
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=loss(),
        metrics=["accuracy"],
    )
    return model


def _log_epoch(epoch: int, logs: dict[str, float]) -> None:
    if epoch % _LOG_INTERVAL == 0:
        template = "epoch %d: loss %.3f, accuracy %.3f, validation loss %.3f, accuracy %.3f"
        _log.info(template, epoch + 1, *(logs[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")))
