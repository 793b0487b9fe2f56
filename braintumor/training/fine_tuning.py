"""Fine-tune backbone and head together on augmented images. A killed run resumes after its last saved epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.errors import RecipeError, TrainingError
from braintumor.training.augmentation import augmentation_layers
from braintumor.training.backbones import KerasModel
from braintumor.training.checkpoints import Checkpoints, History
from braintumor.training.classifier import Classifier
from braintumor.training.device import gpus, has_bfloat16
from braintumor.training.lower_layers import LowerLayers
from braintumor.training.recipe import FineTuning, Precision, Recipe

_log = logging.getLogger(__name__)
_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises. It starts low, because AdamW's averages are unreliable at first.
"""


def fine_tune(
    recipe: Recipe,
    plan: FineTuning,
    classifier: Classifier,
    *,
    training: FrameArrays,
    validation: FrameArrays,
    folder: Path,
) -> History:
    """Train backbone and head in place, starting from the frozen stage or from the last checkpoint.

    Afterwards ``classifier`` has the weights of the epoch with the lowest validation loss.

    Args:
        recipe: the whole recipe.
        plan: the fine-tuning part of the recipe.
        classifier: the classifier with the head of the frozen stage. Its network and head are changed.
        training: the images that the weights are fitted to.
        validation: the images that decide when training stops, and which epoch is the best.
        folder: folder for the checkpoints of this training.

    Returns:
        Metric name -> one value per epoch.

    Raises:
        RecipeError: the backbone has no layer ``from_layer``.
        TrainingError: the training diverged, or a checkpoint cannot be written.
    """
    from braintumor.training.fit import fit

    thaw(classifier.network, plan)
    lower = LowerLayers(classifier, plan) if plan.cached_views else None
    model = _with_head(lower.upper, recipe, classifier) if lower else _training_model(recipe, classifier)
    _compile(model, recipe, plan, steps=plan.epochs * ceil(len(training.labels) / recipe.batch_size))
    checkpoints = Checkpoints(folder)
    done = checkpoints.restore(model)
    if done:
        _log.info("resuming after epoch %d of an interrupted training", done)
    if done < plan.epochs and not _is_stale(checkpoints.history(), plan.patience):
        views: Sequence[NDArray[Any]] = [training.frames]
        held_out: NDArray[Any] = validation.frames
        if lower:
            views = lower.cache_views(recipe, plan, training.frames, folder)
            held_out = lower.cache(validation.frames, folder / "lower-validation.npy")
        with computing_in(classifier.network, _precision(plan)):
            fit(
                model,
                recipe,
                training=(views, training.labels),
                validation=(held_out, validation.labels),
                epochs=range(done, plan.epochs),
                callbacks=[_epoch_callback(checkpoints, patience=plan.patience)],
            )
    checkpoints.restore_best(model)
    return checkpoints.history()


def first_layer(network: KerasModel, plan: FineTuning) -> int:
    """Return the position of ``from_layer`` among the layers of the backbone, or 0 if ``from_layer`` is empty.

    Raises:
        RecipeError: the backbone has no layer ``from_layer``.
    """
    names = [layer.name for layer in network.layers]
    if plan.from_layer and plan.from_layer not in names:
        raise RecipeError(
            f"This backbone has no layer {plan.from_layer!r}. Allowed: {', '.join(names[:3])}, ..., "
            f"{', '.join(names[-3:])}. Correct from_layer, or leave it empty to train every layer."
        )
    return names.index(plan.from_layer) if plan.from_layer else 0


def thaw(network: KerasModel, plan: FineTuning) -> None:
    """Make the layers of the backbone trainable, beginning with ``from_layer``, and freeze the layers before it.

    With ``freeze_batch_norm``, batch normalization layers stay frozen.
    """
    import keras

    first = first_layer(network, plan)
    network.trainable = True
    for number, layer in enumerate(network.layers):
        is_frozen = plan.freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not is_frozen


def _precision(plan: FineTuning) -> Precision:
    """Return the precision of the recipe, or ``float32`` where 16-bit arithmetic would be slower."""
    if plan.precision == "float32" or has_bfloat16():
        return plan.precision
    _log.info("computing in float32, because this machine has no instructions for %s", plan.precision)
    return "float32"


@contextmanager
def computing_in(network: KerasModel, precision: Precision) -> Iterator[None]:
    """Make the backbone compute in ``precision`` while the ``with`` block runs.

    The backbone's weights and the exported graph stay float32.
    """
    before = [layer.dtype_policy for layer in network.layers]
    try:
        for layer in network.layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in zip(network.layers, before, strict=True):
            layer.dtype_policy = policy


def _training_model(recipe: Recipe, classifier: Classifier) -> KerasModel:
    """Return the model from frames to logits, with augmentation and dropout.

    The model shares network and head with the classifier.
    """
    import keras

    size = recipe.image_size
    image = keras.Input((size, size, 3), dtype="uint8")
    x = keras.ops.cast(image, "float32")
    for layer in augmentation_layers(recipe.augmentation, seed=recipe.seed) if recipe.augmentation else []:
        x = layer(x)
    network = keras.Model(image, classifier.network(classifier.preprocess(x)))
    return _with_head(network, recipe, classifier)


def _with_head(network: KerasModel, recipe: Recipe, classifier: Classifier) -> KerasModel:
    """Return the model from the input of ``network``, which ends with the last feature map, to logits."""
    import keras

    x = keras.layers.GlobalAveragePooling2D()(network.output)
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed)(x)
    return keras.Model(network.input, classifier.head(x), name="backbone")


def _compile(model: KerasModel, recipe: Recipe, plan: FineTuning, *, steps: int) -> None:
    import keras

    from braintumor.training.fit import loss

    rate: Any = plan.learning_rate
    if plan.schedule == "cosine":
        warm = max(1, int(_WARM_UP * steps))
        rate = keras.optimizers.schedules.CosineDecay(
            plan.learning_rate / 10,
            decay_steps=max(1, steps - warm),
            warmup_target=plan.learning_rate,
            warmup_steps=warm,
        )
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=plan.weight_decay),
        loss=loss(),
        metrics=["accuracy"],
        jit_compile=bool(gpus()),  # on a CPU, compiling takes more time than it saves
    )


def _epoch_callback(checkpoints: Checkpoints, *, patience: int) -> Any:
    """Return a Keras callback that saves and logs each epoch.

    The callback stops the training after ``patience`` epochs without a lower validation loss.
    """
    import keras

    class EpochCallback(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self._started = time.monotonic()

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            history = _appended(checkpoints.history(), logs or {})
            _require_finite(history, epoch)
            checkpoints.keep(self.model, history, is_best=int(np.argmin(history["val_loss"])) == epoch)
            metrics = ", ".join(f"{name} {values[-1]:.3f}" for name, values in history.items())
            _log.info("fine-tuning epoch %d: %s, %.0f s", epoch + 1, metrics, time.monotonic() - self._started)
            if _is_stale(history, patience):
                self.model.stop_training = True

    return EpochCallback()


def _require_finite(history: History, epoch: int) -> None:
    """Check that the metrics of the last epoch are finite.

    The check comes before the epoch is saved, because a retry would resume from a saved epoch.

    Raises:
        TrainingError: a metric is not a finite number.
    """
    broken = [name for name, values in history.items() if not np.isfinite(values[-1])]
    if broken:
        raise TrainingError(
            f"Fine-tuning diverged in epoch {epoch + 1}: {', '.join(broken)} is not a number. Lower its learning_rate. "
            "Earlier epochs are kept, and nothing was registered."
        )


_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


def _appended(history: History, logs: dict[str, float]) -> History:
    return {name: [*history.get(name, []), float(logs[name])] for name in _METRICS}


def _is_stale(history: History, patience: int) -> bool:
    """Return whether the best epoch is at least ``patience`` epochs old."""
    losses = history.get("val_loss", [])
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= patience
