"""Train readings of the paper's text, to find which of them reaches the five accuracies that the paper reports.

::

    python -m benchmarks.accuracy.paper FOLDER --weights FOLDER

The paper's backbone is frozen, and its files are split at random. Its validation images are 30% of the files, and half
of them are also its test images. The text says that pixels are divided by 255. The text leaves three questions open:

- whether the feature map is pooled, pooled and standardized (as in this project), or flattened
- whether there is a hidden layer
- the learning rate

A reading is one answer to these questions, with pixels divided by 255 or scaled as in the pretraining. Each reading is
trained once. Two test accuracies are reported: that of the last epoch, and that of the epoch with the best validation
accuracy.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import use_onednn
from benchmarks.accuracy.data import Dataset, read_dataset
from benchmarks.accuracy.feature_maps import Maps, feature_maps, pooled
from braintumor.labels import CLASSES
from braintumor.training.head import standardization
from braintumor.training.recipe import BackboneName, Scaling

_FILE = click.Path(path_type=Path, exists=True)
_PLACE = click.Path(path_type=Path)
_SEED = 0
_BATCH = 32
_VALIDATION_SHARE = 0.30
_HEADS = ("pooled", "pooled and standardized", "flattened")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold a row of the paper's table. ``accuracy`` is the test accuracy that the paper reports."""

    backbone: BackboneName
    dropout: float
    epochs: int
    accuracy: float


ROWS = (
    Row(backbone="resnet50", dropout=0.1, epochs=10, accuracy=0.966),
    Row(backbone="resnet50", dropout=0.8, epochs=8, accuracy=0.88),
    Row(backbone="resnet50", dropout=0.8, epochs=15, accuracy=0.96),
    Row(backbone="vgg16", dropout=0.5, epochs=10, accuracy=0.98),
    Row(backbone="vgg16", dropout=0.5, epochs=12, accuracy=0.97),
)
"""The last row has augmentation in the paper. Here it has none, so that one pass of the backbone is enough."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Hold one answer to the questions that the paper's text leaves open.

    ``head`` is one of ``_HEADS``. ``hidden`` is the number of units of the hidden layer, 0 for no hidden layer.
    """

    scaling: Scaling
    head: str
    hidden: int
    learning_rate: float

    def __str__(self) -> str:
        pixels = "pixels/255" if self.scaling == "unit" else "pixels as pretrained"
        hidden = f"hidden layer of {self.hidden}" if self.hidden else "no hidden layer"
        return f"{pixels}, {self.head}, {hidden}, learning rate {self.learning_rate:g}"


def readings() -> Iterator[Reading]:
    """Yield every reading."""
    for scaling, head, hidden, rate in product(("unit", "backbone"), _HEADS, (0, 256), (1e-3, 1e-4)):
        yield Reading(scaling=scaling, head=head, hidden=hidden, learning_rate=rate)  # type: ignore[arg-type]


@click.command()
@click.argument("folder", type=_FILE)
@click.option("--weights", type=_FILE, required=True, help="Folder with the ImageNet weights of the backbones.")
@click.option("--cache", type=_PLACE, default=Path("~/.cache/braintumor/accuracy"), help="Folder for feature maps.")
@click.option("--results", type=_PLACE, default=Path(__file__).parent.parent / "results" / "paper.json")
@click.option("--only", default="", help="Regular expression. Train only the readings whose name it matches.")
def main(*, folder: Path, weights: Path, cache: Path, results: Path, only: str) -> None:
    """Train every reading of every row on the files of FOLDER, and print the table."""
    use_onednn()
    dataset, cache = read_dataset(folder, None), cache.expanduser()
    found: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    tasks = [(row, reading) for reading in readings() for row in ROWS]
    names = {_name(*task): task for task in tasks}
    missing = [task for name, task in names.items() if name not in found and re.search(only, name)]
    started = time.monotonic()
    for number, (row, reading) in enumerate(missing, start=1):
        maps, _ = feature_maps(dataset, row.backbone, reading.scaling, weights=weights, cache=cache)
        last, best = _train(dataset, maps, row, reading)
        found[_name(row, reading)] = {"paper": row.accuracy, "last": round(last, 4), "best": round(best, 4)}
        results.write_text(json.dumps(found, indent=1) + "\n")
        left = (time.monotonic() - started) / number * (len(missing) - number) / 60
        click.echo(f"{_name(row, reading)}: {last:.3f}, best epoch {best:.3f}; about {left:.0f} minutes left")
    click.echo("\n".join(_table(found)))


def _name(row: Row, reading: Reading) -> str:
    return f"{row.backbone}, dropout {row.dropout}, {row.epochs} epochs, {reading}"


def _table(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "| reading | " + " | ".join(f"{row.backbone}, {row.dropout}, {row.epochs} epochs" for row in ROWS) + " |"
    yield "|---|" + "---:|" * len(ROWS)
    yield "| the paper | " + " | ".join(f"{row.accuracy:.3f}" for row in ROWS) + " |"
    for reading in readings():
        values = [found.get(_name(row, reading)) for row in ROWS]
        texts = [f"{value['last']:.3f} / {value['best']:.3f}" if value else "not measured yet" for value in values]
        yield f"| {reading} | {' | '.join(texts)} |"


def _train(dataset: Dataset, maps: Maps, row: Row, reading: Reading) -> tuple[float, float]:
    """Train one reading, and return its test accuracies after the last epoch and after the best validation epoch."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(_SEED)
    entries = np.repeat(np.arange(len(dataset.images)), [len(image.files) for image in dataset.images])
    entries = np.random.default_rng(_SEED).permutation(entries)
    validation, training = np.split(entries, [round(len(entries) * _VALIDATION_SHARE)])
    inputs: NDArray[np.floating] = maps if reading.head == "flattened" else pooled(maps)
    if reading.head == "pooled and standardized":
        mean, scale = standardization(inputs[training].astype(np.float32))
        inputs = (inputs - mean) / scale
    held_out, labels = _flat(inputs[validation]), dataset.labels
    layers = [keras.layers.Dense(reading.hidden, activation="relu")] if reading.hidden else []
    model = keras.Sequential(
        [
            keras.Input(held_out.shape[1:]),
            *layers,
            keras.layers.Dropout(row.dropout, seed=_SEED),
            keras.layers.Dense(len(CLASSES)),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(reading.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    accuracies = []
    for epoch in range(row.epochs):
        for chosen in np.array_split(
            np.random.default_rng([_SEED, epoch]).permutation(training), len(training) // _BATCH
        ):
            model.train_on_batch(_flat(inputs[chosen]), labels[chosen])
        is_right = model.predict(held_out, batch_size=256, verbose=0).argmax(axis=1) == labels[validation]
        accuracies.append((float(is_right.mean()), float(is_right[: len(validation) // 2].mean())))
    return accuracies[-1][1], max(accuracies, key=itemgetter(0))[1]  # the first of equal epochs, not the best on test


def _flat(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return values.reshape(len(values), -1).astype(np.float32)


if __name__ == "__main__":
    main()
