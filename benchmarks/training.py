"""Compare training a head on cached features with the same recipe through ``model.fit`` on images, in one process.

The images are phantoms of 224 x 224 pixels. The backbone is a frozen ResNet50 with random weights. Both ways train 10
epochs without augmentation and early stopping, and keep the best epoch. Both use the same batches in the same order.
Both standardize the features by the same constants, because features of random weights need it. The time to compute
these constants is not counted for ``model.fit``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import keras
import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from braintumor.training.backbones import KerasModel
from braintumor.training.classifier import Classifier
from braintumor.training.features import Embed, FeatureExtractor, through_keras, through_openvino
from braintumor.training.fit import fit
from braintumor.training.head import fit_head, standardization
from braintumor.training.recipe import Recipe

_TRAINING, _VALIDATION, _TEST = 960, 240, 600
_SIZE = 224
_WAYS = {"Keras": through_keras, "OpenVINO": through_openvino}

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Frames uint8 (N, S, S, 3) and their labels (N,)."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A trained head with kernel (d, 4) and bias (4,), and the seconds of its training, which starts from frames."""

    kernel: Array
    bias: Array
    seconds: float

    def words(self, features: Array, labels: NDArray[np.int64]) -> str:
        """Return a text with the training time, and the accuracy on features (N, d) of a test split."""
        accuracy = np.mean((features @ self.kernel + self.bias).argmax(axis=1) == labels)
        return f"{self.seconds:.0f} s, accuracy {accuracy:.3f}"


def compare_training() -> list[str]:
    """Return the rows of the table. They compare features cached with Keras or OpenVINO with plain ``model.fit``."""
    recipe = Recipe.load("resnet50_small").override(
        image_size=_SIZE, epochs=10, patience=1000, batch_size=32, flip_views=False
    )
    training, validation, test = (_phantoms(count, seed) for seed, count in enumerate((_TRAINING, _VALIDATION, _TEST)))
    classifier = Classifier(recipe)
    extractor = FeatureExtractor(
        through_openvino(classifier.embedder), device="cpu"
    )  # not timed, because the first call includes start-up
    constants = standardization(extractor.extract(training.frames).pooled)
    unseen = extractor.extract(test.frames).pooled
    ways = {name: partial(_cached, recipe, way) for name, way in _WAYS.items()}
    before = {name: _timed(way, training, validation) for name, way in ways.items()}
    plain = _timed(partial(_plain, recipe, constants), training, validation)
    after = {name: _timed(way, training, validation) for name, way in ways.items()}
    cached = {name: replace(head, seconds=(before[name].seconds + head.seconds) / 2) for name, head in after.items()}
    return [
        f"| ResNet50 head, 10 epochs, cached through {name} | `model.fit` on images | "
        f"{head.words(unseen, test.labels)} | {plain.words(unseen, test.labels)} | {plain.seconds / head.seconds:.1f} |"
        for name, head in cached.items()
    ]


def _timed(train: Callable[[Images, Images], tuple[Array, Array]], training: Images, validation: Images) -> Head:
    started = time.perf_counter()
    kernel, bias = train(training, validation)
    return Head(kernel=kernel, bias=bias, seconds=time.perf_counter() - started)


def _plain(recipe: Recipe, constants: tuple[Array, Array], training: Images, validation: Images) -> tuple[Array, Array]:
    """Train as tutorials do, and return kernel and bias. The frozen network processes every image in every epoch."""
    mean, scale = constants
    classifier = Classifier(recipe)
    classifier.network.trainable = False
    image = keras.Input((_SIZE, _SIZE, 3), dtype="uint8")
    x = classifier.network(classifier.preprocess(keras.ops.cast(image, "float32")), training=False)
    x = (keras.layers.GlobalAveragePooling2D()(x) - mean) / scale
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed)(x)
    head = keras.layers.Dense(len(CLASSES), kernel_regularizer=keras.regularizers.L2(recipe.l2))
    model = keras.Model(image, head(x))
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    fit(
        model,
        recipe,
        training=([training.frames], training.labels),
        validation=(validation.frames, validation.labels),
        epochs=range(recipe.epochs),
        callbacks=[keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)],
    )
    weights, bias = head.get_weights()
    kernel = weights / scale[:, None]
    return kernel, bias - mean @ kernel


def _cached(
    recipe: Recipe, way: Callable[[KerasModel], Embed], training: Images, validation: Images
) -> tuple[Array, Array]:
    """Train as this project does, and return kernel and bias. The frozen network processes every image once."""
    extractor = FeatureExtractor(way(Classifier(recipe).embedder), device="cpu")
    fitted = fit_head(
        recipe,
        views=[extractor.extract(training.frames).pooled],
        labels=training.labels,
        validation_features=extractor.extract(validation.frames).pooled,
        validation_labels=validation.labels,
    )
    return fitted.kernel, fitted.bias


def _phantoms(count: int, part: int) -> Images:
    labels = np.arange(count) % len(CLASSES)
    return Images(frames=np.stack(list(_drawn(labels, first_seed=part * 10_000))), labels=labels.astype(np.int64))


def _drawn(labels: Sequence[int] | NDArray[np.int64], *, first_seed: int) -> list[NDArray[np.uint8]]:
    return [
        letterbox(draw(CLASSES[label], seed=first_seed + number).pixels, size=_SIZE)
        for number, label in enumerate(labels)
    ]


if __name__ == "__main__":
    print("| what | against | ours | theirs | ratio |")
    print("|---|---|---|---|---:|")
    for row in compare_training():
        print(row, flush=True)
