"""Define the command ``braintumor dev``: set up a trial installation."""

from __future__ import annotations

import os
from pathlib import Path

import click

from braintumor.cli.show import unwritable
from braintumor.config.airflow_connections import with_store_of
from braintumor.config.settings import Settings, setting_variables
from braintumor.labels import CLASSES
from braintumor.progress import progress


@click.group()
def dev() -> None:
    """Set up a trial installation: buckets and synthetic images."""


@dev.command(epilog="Example: braintumor dev create-bucket")
def create_bucket() -> None:
    """Create the missing buckets of the settings.

    The settings are BRAINTUMOR_DATASET_URI, BRAINTUMOR_SCANS_URI, BRAINTUMOR_MODELS_URI and BRAINTUMOR_WEIGHTS_URI.
    """
    from braintumor.s3 import ObjectStore, S3Uri
    from braintumor.scoring.prefixes import ScanPrefixes

    settings = with_store_of(os.environ, Settings.from_environment())
    store = ObjectStore.connect(settings)
    uris = {name: settings.require(name) for name in setting_variables() if name.endswith("_uri")}
    prefixes = list(ScanPrefixes.parse(uris.pop("scans_uri")))
    if not S3Uri.is_meant_by(uris["weights_uri"]):
        del uris["weights_uri"]
    prefixes += map(S3Uri.parse, uris.values())
    for name in sorted({prefix.bucket for prefix in prefixes}):
        click.echo(f"{'created' if store.ensure_bucket(name) else 'exists already'}: bucket {name}")


@dev.command(epilog="Example: braintumor dev make-phantoms /tmp/phantoms --per-class 50 --seed 1")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--per-class", type=click.IntRange(min=1), default=50, show_default=True, help="Images of each class.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bytes.")
def make_phantoms(folder: Path, per_class: int, seed: int) -> None:
    """Draw synthetic labeled brain MR images into FOLDER/<class>/."""
    from braintumor.imaging.phantom.slice import write_dataset

    with progress("Drawing", per_class * len(CLASSES)) as advance:
        try:
            paths = write_dataset(folder, per_class=per_class, seed=seed, progress=lambda _written: advance(1))
        except OSError as exc:
            raise unwritable(folder, exc, option="FOLDER") from exc
    click.echo(f"{len(paths)} images in {folder}")
