"""Training a head on cached features against the same recipe through ``model.fit`` on images, in one process.

Phantoms, ResNet50 frozen with random weights, 224 x 224, 10 epochs, no augmentation, no early stopping.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.phantom import draw
from braintumor.imaging.preprocess import prepare
from braintumor.labels import CLASSES
from braintumor.modelling.classifier import Classifier
from braintumor.modelling.features import Embed, through_keras, through_openvino
from braintumor.modelling.head import fit_head
from braintumor.modelling.recipe import Recipe

_TRAINING, _HELD_OUT = 160, 64
_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Seconds from frames to a fitted head, and its accuracy on held-out frames."""

    name: str
    seconds: float
    accuracy: float

    @property
    def words(self) -> str:
        """Both figures."""
        return f"{self.seconds:.0f} s, accuracy {self.accuracy:.3f}"


def compare_training() -> list[str]:
    """Rows of the table: cached through Keras and through OpenVINO, each against plain ``model.fit``."""
    recipe = Recipe.load("resnet50_small").override(
        image_size=_SIZE, epochs=10, patience=1000, batch_size=32, flip_views=False
    )
    frames, labels = _phantoms(_TRAINING + _HELD_OUT)
    Classifier(recipe).embedder.predict(frames[:32], verbose=0)  # whoever is first does not pay for the start
    plain = _plain(recipe, frames, labels)
    cached = [
        _cached("cached, Keras", through_keras, recipe, frames, labels),
        _cached("cached, OpenVINO", through_openvino, recipe, frames, labels),
    ]
    return [
        f"| ResNet50 head, 10 epochs, {one.name} | `model.fit` on images | {one.words} | {plain.words} | "
        f"{plain.seconds / one.seconds:.1f} |"
        for one in cached
    ]


def _plain(recipe: Recipe, frames: NDArray[np.uint8], labels: NDArray[np.int64]) -> Trained:
    """What a tutorial does: the frozen network inside the model, every image through it in every epoch."""
    started = time.perf_counter()
    classifier = Classifier(recipe)
    classifier.network.trainable = False
    image = keras.Input((_SIZE, _SIZE, 3), dtype="uint8")
    x = classifier.network(classifier.preprocess(keras.ops.cast(image, "float32")), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.BatchNormalization()(x)  # random features need a scale; `fit_head` standardises instead
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed)(x)
    model = keras.Model(image, keras.layers.Dense(len(CLASSES))(x))
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    held_out = (frames[_TRAINING:], labels[_TRAINING:])
    history = model.fit(
        frames[:_TRAINING],
        labels[:_TRAINING],
        validation_data=held_out,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        verbose=0,
    ).history
    return Trained(name="plain", seconds=time.perf_counter() - started, accuracy=history["val_accuracy"][-1])


def _cached(
    name: str,
    embedder: Callable[[Classifier], Embed],
    recipe: Recipe,
    frames: NDArray[np.uint8],
    labels: NDArray[np.int64],
) -> Trained:
    started = time.perf_counter()
    features = embedder(Classifier(recipe))(frames)["embedding"]
    fitted = fit_head(
        recipe,
        views=[features[:_TRAINING]],
        labels=labels[:_TRAINING],
        validation_features=features[_TRAINING:],
        validation_labels=labels[_TRAINING:],
    )
    seconds = time.perf_counter() - started
    return Trained(name=name, seconds=seconds, accuracy=fitted.history["val_accuracy"][-1])


def _phantoms(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(count) % len(CLASSES)
    frames = [prepare(draw(CLASSES[label], seed=seed).pixels, size=_SIZE) for seed, label in enumerate(labels)]
    return np.stack(frames), labels.astype(np.int64)
