"""Measure the accuracies in the table of docs/training-results.md.

::

    python -m benchmarks.accuracy ~/sartaj --patients patients.csv --lesions boxes.csv --weights ~/weights \
        --document docs/training-results.md

The command trains each backbone on folds of FOLDER, and tests it on the images that were kept apart. Each finished fold
is stored at once. If the command is killed and started again, it continues with the first fold that is not finished. A
fine-tuning continues after its last epoch.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from statistics import fmean

import click

from benchmarks.accuracy import use_onednn
from benchmarks.accuracy.cells import Cell, Measurement, planned
from benchmarks.accuracy.data import COUNT_FOLD, read_dataset
from benchmarks.accuracy.results import Results

_FILE = click.Path(path_type=Path, exists=True)
_PLACE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_FILE)
@click.option("--patients", type=_FILE, required=True, help="CSV file with the columns sha256 and person.")
@click.option("--weights", type=_FILE, required=True, help="Folder with the ImageNet weights of the backbones.")
@click.option("--lesions", type=_FILE, help="CSV file with the columns path, x0, y0, x1, y1.")
@click.option("--cache", type=_PLACE, default=Path("~/.cache/braintumor/accuracy"), help="Folder for feature maps.")
@click.option("--results", type=_PLACE, default=Path(__file__).parent.parent / "results" / "accuracy.json")
@click.option("--document", type=_FILE, help="Markdown file whose table is replaced after each fold.")
@click.option("--only", default="", help="Regular expression. Measure only the cells whose name it matches.")
def main(
    *,
    folder: Path,
    patients: Path,
    weights: Path,
    lesions: Path | None,
    cache: Path,
    results: Path,
    document: Path | None,
    only: str,
) -> None:
    """Measure every cell of the table on FOLDER."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    use_onednn()
    cache = cache.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(folder, patients)
    click.echo(
        f"{len(dataset.images)} distinct images, {len(set(dataset.groups.tolist()))} near-duplicate groups, "
        f"{len(set(dataset.persons.tolist()))} groups by person, the person known of {dataset.is_person_known.sum()}, "
        f"{dataset.count_excluded} files left out"
    )
    stored = Results(results, images=dataset.identity)
    measurement = Measurement(dataset, weights=weights, lesions=lesions, cache=cache)
    wanted = [(cell, fold) for cell, fold in planned() if re.search(only, f"{cell}, {fold}")]
    open_folds = [(cell, fold) for cell, fold in wanted if stored.find(cell, fold) is None]
    spent: list[tuple[Cell, float]] = []
    for number, (cell, fold) in enumerate(open_folds, start=1):
        click.echo(f"{number} of {len(open_folds)}: {cell}, fold {fold + 1}")
        started = time.monotonic()
        counts = measurement.measure(cell, fold)
        spent.append((cell, (time.monotonic() - started) / 60))
        stored.keep(cell, fold, counts)
        if document is not None:
            stored.write_table(document, COUNT_FOLD)
        click.echo(f"accuracy {counts.accuracy:.3f}; {_remaining(open_folds[number:], spent)}")
    click.echo(stored.table(COUNT_FOLD))


def _remaining(cells: list[tuple[Cell, int]], spent: list[tuple[Cell, float]]) -> str:
    """Return a text on the remaining time, estimated from the minutes ``spent`` on the measured folds."""
    minutes, unknown = 0.0, 0
    for cell, _ in cells:
        same = [m for c, m in spent if (c.backbone, c.stage) == (cell.backbone, cell.stage)]
        minutes, unknown = minutes + (fmean(same) if same else 0.0), unknown + (not same)
    return f"about {minutes:.0f} minutes left" + (f", and {unknown} folds of unknown length" if unknown else "")


if __name__ == "__main__":
    main()
