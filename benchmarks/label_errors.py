"""Measure where known label errors rank in the list of likely label errors.

::

    python -m benchmarks.label_errors ~/sartaj --patients sartaj_patients.csv --label-column figshare_label

Add ``--patient-column person`` if the column with the patient has that name.
The table has one row per image with a second label, from another source. Images whose second label differs from their
folder are the known errors. The search runs twice: with groups of near-duplicates, and with the patients of the table.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from secrets import token_bytes

import click

from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.local_folder import read_folder
from braintumor.dataset.images.patient_table import read_patient_table
from braintumor.dataset.quality.label_errors import review_labels
from braintumor.dataset.quality.rules import QualityRules
from braintumor.dataset.splits.grouping import form_groups
from braintumor.labels import parse_class


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--patients", type=click.Path(path_type=Path, exists=True), required=True, help="CSV of the images.")
@click.option("--patient-column", default="patient", show_default=True, help="Name of the column with the patient.")
@click.option("--label-column", required=True, help="Name of the column with the second label.")
def main(folder: Path, patients: Path, patient_column: str, label_column: str) -> None:
    """Print the ranks of the known label errors of FOLDER in the list of likely label errors."""
    images, _ = read_folder(folder)
    paths = {image.image_uri: image.image_sha256 for image in images}
    table = read_patient_table(patients, paths, key=token_bytes(), column=patient_column, where=str(folder))
    wrong = known_errors(images, patients, label_column)
    click.echo(f"{len(wrong)} images have another label in the column {label_column}")
    for name, given in (("near-duplicates", images), ("near-duplicates and patients", table.identify(images))):
        click.echo(f"{name}: {ranks_of(given, wrong)}")


def known_errors(images: Sequence[LabeledImage], path: Path, column: str) -> set[str]:
    """Return the pixel hashes of the images that have another class in the CSV file ``path`` than in their folder."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        labels = {row["path"]: parse_class(row[column]) for row in csv.DictReader(stream)}
    return {image.pixel_sha256 for image in images if labels.get(image.image_uri, image.label) is not image.label}


def ranks_of(images: Sequence[LabeledImage], wrong: set[str]) -> str:
    """Return a text with the ranks of known label errors in the list of likely label errors.

    ``wrong`` are the pixel hashes of the images with known label errors.
    """
    groups = form_groups(images, {}).groups
    review = review_labels(groups, maximum_images=QualityRules.load().maximum_images_label_errors)
    ranks = [rank for rank, candidate in enumerate(review.candidates, start=1) if candidate.image.pixel_sha256 in wrong]
    return (
        f"{len(ranks)} of {len(wrong)} are among the {len(review.candidates)} candidates of {review.count_image} "
        f"images, at ranks {', '.join(map(str, ranks)) or '-'}. {review.skipped}".rstrip()
    )


if __name__ == "__main__":
    main()
