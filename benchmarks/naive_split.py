"""Measure the accuracy of a whole recipe, fine-tuning included, on a random split of the files.

::

    python -m benchmarks.naive_split ~/sartaj mobilenet_v2_fine --weights mobilenet_v2_imagenet_notop.weights.h5

The folder is grouped and split like a snapshot, and its test split is left out: none of its files is read again. The
files of train and validation are then assigned at random, ignoring duplicates and adjacent slices. The recipe is
trained on one part and measured on the other. Compare the result with the same recipe on the validation split of the
grouped snapshot. Both are the best epoch's accuracy on images that stopped the training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.local_folder import read_folder
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.grouping import DistinctImage, form_groups, group_key
from braintumor.dataset.splits.split import SHARES, Split, assign
from braintumor.errors import DatasetError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.letterbox import letterbox
from braintumor.progress import show_lines
from braintumor.training.random_split_baseline import split_randomly
from braintumor.training.recipe import Recipe
from braintumor.training.train import train


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("recipe_name")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="The backbone's ImageNet weights.")
def main(folder: Path, recipe_name: str, weights: Path | None) -> None:
    """Train RECIPE_NAME on a random split of the files of FOLDER that are not in its test split."""
    show_lines(sys.stdout, "braintumor.training")
    recipe = Recipe.load(recipe_name)
    files = files_outside_test(folder)
    share = SHARES[Split.VALIDATION] / (SHARES[Split.TRAIN] + SHARES[Split.VALIDATION])
    training, held_out = (
        [files[i] for i in part] for part in split_randomly(np.arange(len(files)), share=share, seed=recipe.seed)
    )
    with TemporaryDirectory() as scratch:
        trained = train(
            recipe,
            frames={
                Split.TRAIN: _frames(folder, training, recipe.image_size),
                Split.VALIDATION: _frames(folder, held_out, recipe.image_size),
            },
            snapshot_id="naive",
            weights=weights,
            folder=_made(Path(scratch) / "model"),
            checkpoints=Path(scratch) / "checkpoints",
        )
    best = int(np.argmin(trained.history["val_loss"]))
    accuracy = trained.history["val_accuracy"][best]
    click.echo(f"{recipe.name}: {accuracy:.3f} on {len(held_out)} held-out files of a random split, epoch {best + 1}")


def files_outside_test(folder: Path) -> list[LabeledImage]:
    """Return every file, duplicates too, of the images that a first snapshot of ``folder`` would not put into test."""
    images, _ = read_folder(folder)
    grouping = form_groups(images, {})
    splits = assign(grouping.to_split(), grouping.known)
    kept: list[DistinctImage] = [
        picture for group in grouping.groups if splits[group_key(group)] is not Split.TEST for picture in group
    ]
    return [file for picture in kept for file in picture.files]


def _frames(folder: Path, files: list[LabeledImage], size: int) -> FrameArrays:
    frames = np.empty((len(files), size, size, 3), np.uint8)
    for index, file in enumerate(files):
        decoded = decode((folder / file.image_uri).read_bytes())
        if isinstance(decoded, Rejection):
            raise DatasetError(f"{file.image_uri} changed while it was read. Start again.")
        frames[index] = letterbox(decoded.frames[0].pixels, size=size)
    labels = np.array([file.label.position for file in files], np.int64)
    return FrameArrays(frames=frames, labels=labels, images=tuple(map(_record, files)))


def _record(file: LabeledImage) -> SnapshotImage:
    return SnapshotImage.of(DistinctImage(files=(file,)), group_key=file.pixel_sha256, split=Split.TRAIN)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
