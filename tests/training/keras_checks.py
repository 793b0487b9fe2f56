"""Checks that load Keras, each run in a subprocess: ``python -m tests.training.keras_checks NAME ARGUMENT``."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.split import Split
from braintumor.errors import ModelIntegrityError, RecipeError, TrainingError, WeightsError
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from braintumor.training.recipe import Augmentation, FineTuning, Recipe

_AUGMENTATION = Augmentation(horizontal_flip=True, rotation=10, width_shift=0.1, shear=0.1, zoom=0.1)
_FINE_TUNING = FineTuning(epochs=3, learning_rate=1e-3, freeze_batch_norm=False)


def run_check(name: str, argument: object, *, exit_code: int = 0) -> str:
    """Run a check of this module in a subprocess, and return its output."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.training.keras_checks", name, str(argument)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == exit_code, done.stderr
    return done.stdout


def _recipe() -> Recipe:
    recipe = Recipe.load("mobilenet_v2").override(
        initial_weights="random", image_size=64, epochs=2, flip_views=False, label_smoothing=0.05, class_weights=True
    )
    return recipe.model_copy(update={"augmentation": _AUGMENTATION, "fine_tuning": _FINE_TUNING})


def _images(labels: NDArray[Any], *, count_file: int = 1) -> tuple[SnapshotImage, ...]:
    return tuple(
        SnapshotImage(
            image_sha256=str(number), pixel_sha256=str(number), perceptual_hash=b"", group_key=str(number),
            label=CLASSES[label], split=Split.TRAIN, image_uri="", attributes={}, count_file=count_file,
        )
        for number, label in enumerate(labels)
    )  # fmt: skip


def _phantoms(count: int, first_seed: int) -> FrameArrays:
    labels = np.arange(count) % 4
    frames = [
        letterbox(draw(CLASSES[label], seed=first_seed + number, size=96).pixels, size=64)
        for number, label in enumerate(labels)
    ]
    return FrameArrays(frames=np.stack(frames), labels=labels.astype(np.int64), images=_images(labels))


def _train(base: Path, name: str) -> dict[str, list[float]]:
    from braintumor.training.train import train

    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
    logging.getLogger("braintumor.training").setLevel(logging.INFO)
    (base / name).mkdir(parents=True, exist_ok=True)
    trained = train(
        _recipe(),
        frames={Split.TRAIN: _phantoms(48, 0), Split.VALIDATION: _phantoms(16, 1000)},
        snapshot_id="s",
        weights=None,
        folder=base / name,
        checkpoints=base / "checkpoints" / name,
    )
    return trained.history


def train_whole(base: str) -> None:
    """Train without an interruption, and print the history."""
    print("HISTORY" + json.dumps(_train(Path(base), "whole")))


def train_killed(base: str) -> None:
    """End the process after the second epoch of fine-tuning."""

    class Kill(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("fine-tuning epoch 2"):
                os._exit(9)

    logging.getLogger("braintumor.training").addHandler(Kill())
    _train(Path(base), "killed")


def train_resumed(base: str) -> None:
    """Continue the killed training, and print the history."""
    print("HISTORY" + json.dumps(_train(Path(base), "killed")))


def train_on_full_disk(base: str) -> None:
    """Limit the size of files when fine-tuning starts, and print the error."""
    from braintumor.training import fine_tuning

    compile_model = fine_tuning._compile

    def then_full(*arguments: Any, **named: Any) -> None:
        compile_model(*arguments, **named)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    fine_tuning._compile = then_full
    try:
        _train(Path(base), "full")
    except TrainingError as error:
        print("ERROR", error)


def incomplete_epoch(base: str) -> None:
    """End the saving of the second epoch between two files, and print the best weight.

    Then save that epoch in another try, and print whether its seconds include those of the first try.
    """
    import keras

    from braintumor.training.checkpoints import Checkpoints

    class KilledError(BaseException): ...

    class Torn(Checkpoints):
        def _put(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
            super()._put(path, write)
            if path.name == "best-0002.npz":
                raise KilledError

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=keras.optimizers.AdamW(), loss="mse")
    torn = Torn(Path(base) / "torn")
    model.layers[-1].kernel.assign([[1.0]])
    torn.keep(model, {"val_loss": [0.5]}, is_best=True)
    model.layers[-1].kernel.assign([[2.0]])
    try:
        torn.keep(model, {"val_loss": [0.5, 0.1]}, is_best=True)
    except KilledError:
        Checkpoints(Path(base) / "torn").restore_best(model)
    print("BEST", float(model.layers[-1].kernel[0, 0]))
    resumed = Checkpoints(Path(base) / "torn")
    before = resumed.seconds
    resumed.keep(model, {"val_loss": [0.5, 0.2]}, is_best=True)
    print("ADDED", 0 < before < resumed.seconds, sorted(resumed.history()))


def augmented_views(_: str) -> None:
    """Print type and shape of views, and which views are equal."""
    from braintumor.training.augmentation import augmented_views as views_of

    plain = _phantoms(8, 0).frames
    two = _AUGMENTATION.model_copy(update={"views": 2})
    first, second = views_of(plain, two, seed=1)
    again, _second = views_of(plain, two, seed=1)
    other, _second = views_of(plain, two, seed=2)
    equal = [bool((first == view).all()) for view in (again, other, second, plain)]
    print(first.dtype, first.shape == plain.shape, *equal)


def batches(_: str) -> None:
    """Print the sizes and the order of batches by seed and epoch."""
    from braintumor.training.fit import Batches

    views, labels = [np.arange(10), np.arange(10) + 100], np.arange(10)

    def epoch(number: int, seed: int = 1) -> list[Any]:
        made = Batches(views, labels, _recipe().override(batch_size=4, seed=seed))
        made.epoch = number
        return [made[position] for position in range(len(made))]

    seen = [np.concatenate([view for view, _ in epoch(number)]) for number in range(3)]
    complete = [
        sorted(view.tolist()) == (np.arange(10) + 100 * (number % 2)).tolist() for number, view in enumerate(seen)
    ]
    print([len(view) for view, _ in epoch(0)], complete)
    repeated = bool((np.concatenate([view for view, _ in epoch(2)]) == seen[2]).all())
    print(
        repeated, bool((seen[0] == seen[2]).all()), all(bool((view % 100 == label).all()) for view, label in epoch(1))
    )


def mixed_batches(_: str) -> None:
    """Print how the values and targets of mixed batches agree, and whether an epoch can be repeated."""
    from braintumor.training.fit import Batches, targets

    labels = np.arange(12) % 4
    views = [np.stack([labels, np.full(12, 7)], axis=1).astype(np.float16)]
    made = Batches(views, targets(labels), _recipe().override(batch_size=8, seed=1, mixup=0.4))
    inputs, mixed = (np.concatenate(parts) for parts in zip(made[0], made[1], strict=True))
    print(bool(np.allclose(inputs[:, 0], mixed @ np.arange(4), atol=1e-2)), bool(np.allclose(inputs[:, 1], 7)))
    print(bool(np.allclose(mixed.sum(axis=1), 1)), int((mixed.max(axis=1) < 0.99).sum()) > 0)
    first = made[0][0]
    made.epoch = 1
    other = made[0][0]
    made.epoch = 0
    print(bool((made[0][0] == first).all()), bool((other == first).all()))


def unknown_layer(_: str) -> None:
    """Print the first trainable layer, and the error for an unknown layer."""
    from braintumor.training.classifier import Classifier
    from braintumor.training.fine_tuning import thaw

    network = Classifier(_recipe()).network
    thaw(network, _FINE_TUNING.model_copy(update={"from_layer": "block_16_expand", "freeze_batch_norm": True}))
    trainable = [layer.name for layer in network.layers if layer.trainable and layer.weights]
    print(trainable[0], any("BN" in name for name in trainable))
    try:
        thaw(network, _FINE_TUNING.model_copy(update={"from_layer": "block_99"}))
    except RecipeError as error:
        print(error)


def feature_backends(recipe: str) -> None:
    """Compare features of Keras and OpenVINO, and print their shapes."""
    from braintumor.training.classifier import Classifier
    from braintumor.training.features import FeatureExtractor, through_keras, through_openvino

    classifier = Classifier(Recipe.load(recipe))
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    keras_outputs, graph_outputs = (
        through_keras(classifier.embedder)(frames),
        through_openvino(classifier.embedder)(frames),
    )
    for name, expected in keras_outputs.items():
        np.testing.assert_allclose(expected, graph_outputs[name], rtol=1e-2, atol=1e-3 * np.abs(expected).max())
    shapes = [keras_outputs[name].shape for name in ("embedding", "features")]
    print(*shapes, FeatureExtractor.fastest(classifier).device)


def lower_layers(layer: str) -> None:
    """Divide a backbone before ``layer``, and print the shape of the cached outputs and whether the result is equal."""
    from braintumor.training.classifier import Classifier
    from braintumor.training.fine_tuning import thaw
    from braintumor.training.lower_layers import LowerLayers

    backbone, first, base = layer.split(",")
    plan = _FINE_TUNING.model_copy(update={"from_layer": first, "freeze_batch_norm": True, "cached_views": 1})
    recipe = Recipe.load(backbone).override(image_size=64, initial_weights="random")
    recipe = recipe.model_copy(update={"fine_tuning": plan})
    classifier = Classifier(recipe)
    thaw(classifier.network, plan)
    try:
        lower = LowerLayers(classifier, plan)
    except RecipeError as error:
        print(error)
        return
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    plain, view = lower.cache_views(recipe, plan, frames, Path(base))
    expected = classifier.embedder.predict(frames, verbose=0)["features"]
    received = lower.upper.predict(plain.astype(np.float32), verbose=0)
    close = np.allclose(received, expected, atol=2e-3 * np.abs(expected).max())
    print(plain.shape, close, bool((plain == view).all()), len(lower.upper.trainable_weights))
    (Path(base) / "lower-01.npy").write_bytes((Path(base) / "lower-00.npy").read_bytes())
    print(bool((lower.cache_views(recipe, plan, frames, Path(base))[1] == plain).all()))


def cached_fine_tuning(base: str) -> None:
    """Fine-tune on cached outputs, and print the epochs and whether only the upper layers changed."""
    from braintumor.training.classifier import Classifier
    from braintumor.training.fine_tuning import fine_tune

    plan = _FINE_TUNING.model_copy(update={"from_layer": "block5_conv1", "freeze_batch_norm": True, "cached_views": 2})
    recipe = _recipe().model_copy(update={"backbone": "vgg16", "fine_tuning": plan})
    classifier = Classifier(recipe)
    before = {layer.name: layer.get_weights() for layer in classifier.network.layers}
    history = fine_tune(
        recipe, plan, classifier, training=_phantoms(32, 0), validation=_phantoms(8, 1000), folder=Path(base)
    )
    changed = [
        layer.name
        for layer in classifier.network.layers
        if any((old != new).any() for old, new in zip(before[layer.name], layer.get_weights(), strict=True))
    ]
    print(len(history["loss"]), changed)
    print(sorted(path.name for path in Path(base).glob("lower-*")))


def mixed_precision(recipe: str) -> None:
    """Print types inside and after mixed precision, and whether the outputs agree."""
    from braintumor.training.classifier import Classifier
    from braintumor.training.fine_tuning import computing_in

    network = Classifier(Recipe.load(recipe)).network
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    before = np.asarray(network(frames))
    with computing_in(network, "mixed_bfloat16"):
        inside = network(frames)
        print(inside.dtype.name, {str(weight.dtype) for weight in network.weights})
    after = np.asarray(network(frames))
    close = np.allclose(np.asarray(inside, np.float32), before, atol=0.05 * np.abs(before).max())
    print(close, bool((before == after).all()), after.dtype)


def weights_files(base: str) -> None:
    """Load weights into their backbone and into another, and print the errors."""
    from braintumor.training.backbones import BACKBONES, load_weights

    path = Path(base) / "w.weights.h5"
    source = BACKBONES["mobilenet_v2"].build(64)
    source.save_weights(path)
    target = BACKBONES["mobilenet_v2"].build(96)
    load_weights(target, path)
    print(all((a == b).all() for a, b in zip(source.get_weights(), target.get_weights(), strict=True)))
    for file in (path, Path(os.devnull)):
        try:
            load_weights(BACKBONES["vgg16"].build(64), file)
        except WeightsError as error:
            print("refused:", error)


def export_of_nan(base: str) -> None:
    """Export a valid model, then one with NaN weights, and print the error."""
    from braintumor.training.classifier import Classifier

    classifier = Classifier(Recipe.load(str(Path("tests/tiny.toml").resolve())))
    probe = np.zeros((2, 64, 64, 3), np.uint8)
    classifier.export(Path(base), temperature=1.0, probe=probe)
    classifier.set_head(np.full((512, 4), np.nan, np.float32), np.zeros(4, np.float32))
    try:
        classifier.export(Path(base), temperature=1.0, probe=probe)
    except ModelIntegrityError as error:
        print("refused:", error)


def random_split(_: str) -> None:
    """Print the accuracy of a random split on random labels, with one file and with four files per image."""
    from braintumor.training.random_split_baseline import random_split_accuracy

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(160, 256)).astype(np.float32), rng.integers(0, 4, 160)
    recipe = Recipe.load("resnet50").override(initial_weights="random", epochs=6, patience=6, learning_rate=0.01)

    def part(chosen: NDArray[Any], count_file: int) -> FrameArrays:
        frames = np.zeros((len(chosen), 8, 8, 3), np.uint8)
        images = _images(labels[chosen], count_file=count_file)
        return FrameArrays(frames=frames, labels=labels[chosen], images=images)

    def accuracy(count_file: int) -> float:
        training, validation = np.arange(120), np.arange(120, 160)
        return random_split_accuracy(
            recipe,
            training=part(training, count_file),
            validation=part(validation, count_file),
            training_features=features[training],
            validation_features=features[validation],
        )

    print(json.dumps([accuracy(1), accuracy(4)]))


def legacy_weights(path: str) -> None:
    """Write random weights of VGG16 in the format of Keras 2, which keras.applications uses."""
    import h5py
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    keras.utils.set_random_seed(8)
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, keras.applications.VGG16(weights=None, include_top=False))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
