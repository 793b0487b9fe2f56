"""``braintumor phantom``."""

from __future__ import annotations

from pathlib import Path

import click

from braintumor.cli.show import progress
from braintumor.labels import CLASSES


@click.command(epilog="Example: braintumor phantom /tmp/phantoms --per-class 50 --seed 1")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--per-class", type=click.IntRange(min=1), default=50, show_default=True, help="Images of each class.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bytes.")
def phantom(folder: Path, per_class: int, seed: int) -> None:
    """Draw synthetic labeled brain MRI into FOLDER/<class>/."""
    from braintumor.imaging.phantom.slice import write_dataset

    with progress("Drawing", per_class * len(CLASSES)) as advance:
        paths = write_dataset(folder, per_class=per_class, seed=seed, progress=lambda _written: advance(1))
    click.echo(f"{len(paths)} images in {folder}")
