r"""Measure the out-of-distribution score: ``python -m benchmarks.out_of_distribution FOLDER --weights FILE``.

::

    python -m benchmarks.out_of_distribution ~/sartaj --weights FILE --against photographs ~/food \
        --against "healthy T1" ~/dicom

The images of FOLDER are grouped and split like a first snapshot. The recipe ``mobilenet_v2`` (frozen backbone) is
trained on them. The trained model scores the test split and other images. All images are made gray first, also for
training, so that color does not help. Without FOLDER, phantoms are used. Without FILE, the initial weights are random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.images.local_folder import read_folder
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.grouping import form_groups, group_key
from braintumor.dataset.splits.split import Split, assign
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.serving.backend import LoadedModel
from braintumor.training.recipe import Recipe
from braintumor.training.train import train

Frames = NDArray[np.uint8]

_MADE = 100
"""Number of noise frames, and of blank frames."""
_PER_CLASS = 150
"""Number of phantoms of each class, which are used if no folder is given."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="MobileNetV2's ImageNet weights.")
@click.option(
    "--against",
    type=(str, click.Path(path_type=Path, exists=True)),
    multiple=True,
    help="A name for the files of another folder, and the folder. May be repeated.",
)
def main(folder: Path | None, weights: Path | None, against: tuple[tuple[str, Path], ...]) -> None:
    """Print a row for each set of images: AUROC against the test split, and the share that is flagged."""
    for row in compare_distances(folder, weights, dict(against), is_progress_shown=True):
        click.echo(row)


def compare_distances(
    folder: Path | None = None,
    weights: Path | None = None,
    against: Mapping[str, Path] | None = None,
    *,
    is_progress_shown: bool = False,
) -> Iterator[str]:
    """Train a model on ``folder``, or on phantoms, and yield the lines of a Markdown table."""
    recipe = Recipe.load("mobilenet_v2")
    if weights is None:
        recipe = recipe.override(initial_weights="random")
    with TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch) / "phantoms"
            write_dataset(folder, per_class=_PER_CLASS, seed=1)
        splits = _split(folder, recipe.image_size)
        (Path(scratch) / "model").mkdir()
        train(
            recipe,
            frames=splits,
            snapshot_id="benchmark",
            weights=weights,
            folder=Path(scratch) / "model",
            checkpoints=Path(scratch) / "checkpoints",
        )
        model = LoadedModel.load(Path(scratch) / "model")
        yield from _rows(model, splits[Split.TEST].frames, against or {})


def _rows(model: LoadedModel, test: Frames, against: Mapping[str, Path]) -> Iterator[str]:
    size = model.manifest.image_size
    sets = {
        **{name: _gray_frames(folder, size) for name, folder in against.items()},
        "noise": _noise(size),
        "blank, nearly": _blanks(size),
        "test images turned by 90 degrees": np.ascontiguousarray(np.rot90(test, axes=(1, 2))),
        "test images upside down": np.ascontiguousarray(test[:, ::-1]),
    }
    bound = model.manifest.out_of_distribution_above
    inside = model.predict(test).out_of_distribution
    assert bound is not None and inside is not None
    yield "| images | count | AUROC against test | flagged | median score |"
    yield "|---|---:|---:|---:|---:|"
    yield f"| test images | {len(test)} | | {(inside > bound).mean():.1%} | {np.median(inside):.4f} |"
    for name, frames in sets.items():
        outside = model.predict(frames).out_of_distribution
        assert outside is not None
        area = roc_auc_score(np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside]))
        yield (f"| {name} | {len(frames)} | {area:.3f} | {(outside > bound).mean():.1%} | {np.median(outside):.4f} |")
    yield f"\nflagged above {bound:.4f}"


def _split(folder: Path, size: int) -> dict[Split, FrameArrays]:
    """Return the gray frames of ``folder`` by split, with the splits of a first snapshot."""
    images, _ = read_folder(folder)
    grouping = form_groups(images, {})
    splits = assign(grouping.to_split(), grouping.known)
    records = [
        SnapshotImage.of(picture, group_key=group_key(group), split=splits[group_key(group)])
        for group in grouping.groups
        for picture in group
    ]
    ordered = sorted(records, key=lambda record: record.image_sha256)
    return {split: _frames_of(folder, [r for r in ordered if r.split is split], size) for split in Split}


def _frames_of(folder: Path, records: list[SnapshotImage], size: int) -> FrameArrays:
    frames = np.concatenate([_gray(folder / record.image_uri, size)[:1] for record in records])
    labels = np.array([record.label.position for record in records], np.int64)
    return FrameArrays(frames=frames, labels=labels, images=tuple(records))


def _gray_frames(folder: Path, size: int) -> Frames:
    """Return every frame of every readable file below ``folder``, in gray, uint8 (N, S, S, 3)."""
    found = [_gray(path, size) for path in sorted(folder.rglob("*")) if path.is_file()]
    return np.concatenate([frames for frames in found if len(frames)])


def _gray(path: Path, size: int) -> Frames:
    """Return the F frames of a file without color, uint8 (F, S, S, 3). F is 0 if the file is rejected."""
    decoded = decode(path.read_bytes())
    if isinstance(decoded, Rejection):
        return np.empty((0, size, size, 3), np.uint8)
    gray = [np.asarray(Image.fromarray(frame.pixels).convert("L")) for frame in decoded.frames]
    return np.stack([letterbox(pixels, size=size) for pixels in gray])


def _noise(size: int) -> Frames:
    """Return frames of gray noise. Its grains grow from one pixel to a tenth of the image's width."""
    random = np.random.default_rng(0)
    widths = np.linspace(0, size / 10, _MADE)
    return np.stack([_full_range(gaussian_filter(random.normal(size=(size, size)), width)) for width in widths])


def _full_range(values: NDArray[np.float64]) -> Frames:
    return _colored((values - values.min()) / np.ptp(values) * 255)


def _blanks(size: int) -> Frames:
    """Return uniformly gray frames with detector noise, because a completely blank image would be rejected."""
    random = np.random.default_rng(1)
    return np.stack([_colored(random.normal(level, 1, (size, size))) for level in np.linspace(0, 255, _MADE)])


def _colored(values: NDArray[np.float64]) -> Frames:
    """Return an image (S, S) of 0 to 255 as a frame (S, S, 3)."""
    return np.repeat(values.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


if __name__ == "__main__":
    main()
