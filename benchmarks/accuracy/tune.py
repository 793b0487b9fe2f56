"""Compare values of a recipe on validation images.

::

    python -m benchmarks.accuracy.tune ~/sartaj resnet50 --patients patients.csv --weights ~/weights \
        --set fine_tuning.learning_rate=3e-4

Training and validation images are those of a fold by persons. The command never uses the test images of the fold. The
printed loss and accuracy are those of the best epoch, which the same validation images have chosen. So they serve to
compare recipes, and are no estimate for new patients. Each finished training adds a line to a CSV file, with the
accuracy on images of known persons and the lowest recall of a class. The epochs stay in the cache. So
``benchmarks.accuracy`` does not train again on this fold, if the values become those of the recipe.
"""

from __future__ import annotations

import csv
import logging
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.accuracy import use_onednn
from benchmarks.accuracy.cells import Measurement
from benchmarks.accuracy.data import SplitBy, read_dataset
from braintumor.serving.backend import LoadedModel
from braintumor.training.recipe import Recipe

_FILE = click.Path(path_type=Path, exists=True)
_PLACE = click.Path(path_type=Path)
_COLUMNS = (
    "recipe",
    "changed",
    "fold",
    "epoch",
    "validation_loss",
    "validation_accuracy",
    "accuracy_of_known_persons",
    "lowest_recall",
    "frozen_accuracy",
    "core_minutes",
)


@click.command()
@click.argument("folder", type=_FILE)
@click.argument("recipe_name")
@click.option("--patients", type=_FILE, required=True, help="CSV file with the columns sha256 and person.")
@click.option("--weights", type=_FILE, required=True, help="Folder with the ImageNet weights of the backbones.")
@click.option("--set", "changes", multiple=True, help="KEY=VALUE or TABLE.KEY=VALUE, the value as in TOML.")
@click.option("--fold", type=click.IntRange(0, 4), default=0)
@click.option("--cache", type=_PLACE, default=Path("~/.cache/braintumor/accuracy"), help="Folder for checkpoints.")
@click.option("--results", type=_PLACE, default=Path(__file__).parent.parent / "results" / "tuning.csv")
def main(
    *,
    folder: Path,
    recipe_name: str,
    patients: Path,
    weights: Path,
    changes: tuple[str, ...],
    fold: int,
    cache: Path,
    results: Path,
) -> None:
    """Train RECIPE_NAME on a fold of FOLDER, and print its figures on the validation images."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    use_onednn()
    recipe = Recipe.load(recipe_name).override(**tomllib.loads("\n".join(changes)))
    dataset = read_dataset(folder, patients)
    measurement = Measurement(dataset, weights=weights, lesions=None, cache=cache.expanduser())
    trained, place, minutes = measurement.fine_tune(recipe, SplitBy.PERSONS, fold)
    for large in (place / "checkpoints").glob("lower-*.npy"):
        large.unlink()
    parts, frames = dataset.fold(SplitBy.PERSONS, fold), measurement.frames_of(recipe.image_size)
    predicted = LoadedModel.load(place / "model").predict(frames[parts.validation]).probability.argmax(axis=1)
    labels = dataset.labels[parts.validation]
    is_right, is_known = predicted == labels, dataset.is_person_known[parts.validation]
    known, recall = is_right[is_known].mean(), min(is_right[labels == label].mean() for label in np.unique(labels))
    best = int(np.argmin(trained.history["val_loss"]))
    loss, accuracy = trained.history["val_loss"][best], trained.history["val_accuracy"][best]
    figures = [f"{value:.4f}" for value in (loss, accuracy, known, recall, trained.grouped_accuracy)]
    _append(results, [recipe.name, " ".join(changes), fold, best + 1, *figures, f"{minutes[1]:.1f}"])
    click.echo(
        f"validation loss {loss:.4f}, accuracy {accuracy:.4f} in epoch {best + 1}; known persons {known:.4f}, "
        f"lowest recall {recall:.4f}; frozen stage {figures[-1]}"
    )


def _append(path: Path, row: list[Any]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as stream:
        csv.writer(stream).writerows([_COLUMNS, row] if is_new else [row])


if __name__ == "__main__":
    main()
