"""Compare values of a recipe on validation images.

::

    python -m benchmarks.accuracy.tune ~/sartaj resnet50 --patients patients.csv --weights ~/weights \
        --set fine_tuning.learning_rate=3e-4

Training and validation images are those of a fold by persons. The command never uses the test images of the fold. The
printed loss and accuracy are those of the best epoch, which the same validation images have chosen. So they serve to
compare recipes, and are no estimate for new patients. Each finished training adds a line to a CSV file.
"""

from __future__ import annotations

import csv
import tomllib
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
import numpy as np

from benchmarks.accuracy import use_onednn
from benchmarks.accuracy.data import SplitBy, read_dataset
from braintumor.dataset.splits.split import Split
from braintumor.training.pretrained_weights import mirrored_name
from braintumor.training.recipe import Recipe
from braintumor.training.train import train

_FILE = click.Path(path_type=Path, exists=True)
_PLACE = click.Path(path_type=Path)
_COLUMNS = (
    "recipe",
    "changed",
    "fold",
    "epoch",
    "validation_loss",
    "validation_accuracy",
    "frozen_accuracy",
    "minutes",
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
    use_onednn()
    recipe = Recipe.load(recipe_name).override(**tomllib.loads("\n".join(changes)))
    dataset = read_dataset(folder, patients)
    parts = dataset.fold(SplitBy.PERSONS, fold)
    positions = {Split.TRAIN: parts.training, Split.VALIDATION: parts.validation}
    frames = dataset.frames(recipe.image_size)
    name = sha256(f"{recipe.to_values()} {fold} {dataset.identity}".encode()).hexdigest()[:12]
    scratch = cache.expanduser() / "tuning" / name
    rmtree(scratch / "model", ignore_errors=True)
    (scratch / "model").mkdir(parents=True)
    trained = train(
        recipe,
        frames={split: dataset.part(frames, chosen, split) for split, chosen in positions.items()},
        snapshot_id="tuning",
        weights=weights / mirrored_name(recipe.backbone),
        folder=scratch / "model",
        checkpoints=scratch / "checkpoints",
    )
    rmtree(scratch)
    best = int(np.argmin(trained.history["val_loss"]))
    loss, accuracy = trained.history["val_loss"][best], trained.history["val_accuracy"][best]
    frozen, minutes = trained.grouped_accuracy, trained.seconds / 60
    row = (recipe.name, " ".join(changes), fold, best + 1, *(f"{value:.4f}" for value in (loss, accuracy, frozen)))
    _append(results, [*row, f"{minutes:.1f}"])
    click.echo(f"validation loss {loss:.4f}, accuracy {accuracy:.4f} in epoch {best + 1}; frozen stage {frozen:.4f}")


def _append(path: Path, row: list[Any]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as stream:
        csv.writer(stream).writerows([_COLUMNS, row] if is_new else [row])


if __name__ == "__main__":
    main()
