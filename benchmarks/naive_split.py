"""What a random split of the files would claim for a whole recipe, its fine-tuning included.

::

    python -m benchmarks.naive_split ~/sartaj mobilenet_v2_fine --weights mobilenet_v2_imagenet_notop.weights.h5

The folder is grouped and split as a snapshot would be, and its test split is put aside: no file of it is read again.
The files of train and validation are then dealt out anew, one by one, copies and neighbours apart, and the recipe is
trained on one part and measured on the other. Beside it belongs what the same recipe reached on the validation split of
the grouped snapshot: both are the best epoch's accuracy on images that stopped the training.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from braintumor.dataset.folder import read_folder
from braintumor.dataset.frameset import FrameSet
from braintumor.dataset.grouping import Picture, form_groups, group_key
from braintumor.dataset.image import LabelledImage
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.split import Split, assign
from braintumor.errors import DatasetError
from braintumor.imaging.frames import decode
from braintumor.imaging.preprocess import prepare
from braintumor.imaging.rejection import Rejection
from braintumor.modelling.recipe import Recipe
from braintumor.modelling.training import train


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("recipe_name")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="The backbone's ImageNet weights.")
def main(folder: Path, recipe_name: str, weights: Path | None) -> None:
    """Train RECIPE_NAME on a random split of the files of FOLDER that are not in its test split."""
    recipe = Recipe.load(recipe_name)
    training, held_out = deal(files_outside_test(folder), seed=recipe.seed)
    with TemporaryDirectory() as scratch:
        trained = train(
            recipe,
            training=_frames(folder, training, recipe.image_size),
            validation=_frames(folder, held_out, recipe.image_size),
            snapshot_id="naive",
            weights=weights,
            folder=_made(Path(scratch) / "model"),
            checkpoints=Path(scratch) / "checkpoints",
            say=click.echo,
        )
    best = int(np.argmin(trained.history["val_loss"]))
    accuracy = trained.history["val_accuracy"][best]
    click.echo(f"{recipe.name}: {accuracy:.3f} on {len(held_out)} held-out files of a random split, epoch {best + 1}")


def files_outside_test(folder: Path) -> list[LabelledImage]:
    """Every file, copies too, of the pictures that a first snapshot of ``folder`` would not put into test."""
    images, _ = read_folder(folder)
    grouping = form_groups(images, {})
    splits = assign(grouping.to_split(), grouping.known)
    kept: list[Picture] = [
        picture for group in grouping.groups if splits[group_key(group)] is not Split.TEST for picture in group
    ]
    return [file for picture in kept for file in picture.files]


def deal(files: list[LabelledImage], *, seed: int) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """A random split of single files with as large a share held out as validation has of train and validation."""
    order = np.random.default_rng(seed).permutation(len(files))
    count = round(len(files) * 0.15 / 0.85)
    return [files[i] for i in order[count:]], [files[i] for i in order[:count]]


def _frames(folder: Path, files: list[LabelledImage], size: int) -> FrameSet:
    frames = np.empty((len(files), size, size, 3), np.uint8)
    for index, file in enumerate(files):
        decoded = decode((folder / file.image_uri).read_bytes())
        if isinstance(decoded, Rejection):
            raise DatasetError(f"{file.image_uri} changed while it was read. Start again.")
        frames[index] = prepare(decoded.frames[0].pixels, size=size)
    labels = np.array([file.label.position for file in files], np.int64)
    return FrameSet(frames=frames, labels=labels, images=tuple(map(_record, files)))


def _record(file: LabelledImage) -> SnapshotImage:
    return SnapshotImage(
        image_sha256=file.image_sha256,
        pixel_sha256=file.pixel_sha256,
        perceptual_hash=file.perceptual_hash,
        group_key=file.pixel_sha256,
        label=file.label,
        split=Split.TRAIN,
        image_uri=file.image_uri,
        attributes=file.attributes,
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
