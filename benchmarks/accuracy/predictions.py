"""Write the test predictions of a frozen MobileNetV2 as CSV, for simulations that hide the labels.

::

    python -m benchmarks.accuracy.predictions ~/sartaj predictions.csv --patients patients.csv --weights ~/weights

Each image is predicted once, by the model of the fold that tests it. No person is in two parts of a fold. A row has the
label, the group of the image (all images of a person) and the four probabilities.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from benchmarks.accuracy import use_onednn
from benchmarks.accuracy.cells import Cell, Measurement
from benchmarks.accuracy.data import COUNT_FOLD, SplitBy, read_dataset
from braintumor.labels import CLASSES

_PLACE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_PLACE)
@click.argument("output", type=_PLACE)
@click.option("--patients", type=_PLACE, required=True, help="CSV file with the columns sha256 and person.")
@click.option("--weights", type=_PLACE, required=True, help="Folder with the ImageNet weights of the backbones.")
@click.option("--cache", type=_PLACE, default=Path("~/.cache/braintumor/accuracy"), help="Folder for feature maps.")
def main(*, folder: Path, output: Path, patients: Path, weights: Path, cache: Path) -> None:
    """Predict the test images of each fold of FOLDER, and write OUTPUT."""
    use_onednn()
    cache = cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(folder, patients)
    measurement = Measurement(dataset, weights=weights, lesions=None, cache=cache)
    cell = Cell(backbone="mobilenet_v2", stage="frozen", by=SplitBy.PERSONS)
    with output.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("label", "person", *(label.value for label in CLASSES)))
        for number in range(COUNT_FOLD):
            fold = dataset.fold(cell.by, number)
            for position, row in zip(fold.test.tolist(), measurement.predict(cell, fold), strict=True):
                label = CLASSES[dataset.labels[position]].value
                writer.writerow((label, dataset.persons[position], *(f"{value:.5f}" for value in row)))


if __name__ == "__main__":
    main()
