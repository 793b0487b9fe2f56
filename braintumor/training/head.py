"""Fit the head on cached features: dropout, softmax, Adam, early stopping on the best validation loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES
from braintumor.training.recipe import Recipe

_SAY_EVERY = 10
_FLOOR = 1e-3
"""Of the mean deviation: keeps a channel that is nearly always 0 from being blown up."""


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """The weights of the best epoch.

    Attributes:
        kernel: float32 (d, 4), for features as the backbone gives them.
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
    say: Callable[[str], None] = lambda _: None,
) -> FittedHead:
    """Fit on views (M, d) of the same M images with labels (M,); the epoch with the lowest validation loss wins.

    Each epoch takes the next view. The features are standardized while fitting, since one learning rate cannot suit
    channels whose scales differ by orders of magnitude; the standardization is then folded into kernel and bias, so the
    graph carries none.
    """
    import keras

    from braintumor.training.fit import fit

    mean, scale = standardization(views[0])
    model = _head_model(recipe, dim=views[0].shape[1])
    history = fit(
        model,
        recipe,
        views=[(view - mean) / scale for view in views],
        labels=labels,
        validation=((validation_features - mean) / scale, validation_labels),
        epochs=recipe.epochs,
        callbacks=[
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=recipe.patience, restore_best_weights=True),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _say_epoch(say, epoch, logs or {})),
        ],
    )
    weights, bias = model.get_layer("head").get_weights()
    kernel = (weights / scale[:, None]).astype(np.float32)
    return FittedHead(
        kernel=kernel,
        bias=(bias - mean @ (weights / scale[:, None])).astype(np.float32),
        history=history,
    )


def standardization(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and scale (d,) of features (N, d)."""
    deviation = features.std(axis=0)
    return features.mean(axis=0), deviation + _FLOOR * deviation.mean()


def _head_model(recipe: Recipe, *, dim: int) -> Any:
    import keras

    from braintumor.training.fit import loss

    model = keras.Sequential(
        [
            keras.Input((dim,)),
            keras.layers.Dropout(recipe.dropout, seed=recipe.seed),
            keras.layers.Dense(len(CLASSES), kernel_regularizer=keras.regularizers.L2(recipe.l2), name="head"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=loss(smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    return model


def _say_epoch(say: Callable[[str], None], epoch: int, logs: dict[str, float]) -> None:
    if epoch % _SAY_EVERY == 0:
        say(
            f"epoch {epoch + 1}: loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}, "
            f"validation loss {logs['val_loss']:.3f}, accuracy {logs['val_accuracy']:.3f}"
        )
