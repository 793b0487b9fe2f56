"""``braintumor bucket``."""

from __future__ import annotations

import click

from braintumor.settings import Settings, setting_fields


@click.group()
def bucket() -> None:
    """The S3 buckets that the settings name."""


@bucket.command(epilog="Example: braintumor bucket create")
def create() -> None:
    """Make each bucket of the settings (BRAINTUMOR_DATASET_URI, _SCANS_, _MODELS_, _WEIGHTS_) that is missing."""
    from braintumor.objectstore import ObjectStore, S3Uri
    from braintumor.scoring.prefixes import ScanPrefixes

    settings = Settings.from_environment()
    store = ObjectStore.connect(settings)
    names = [field.name for field in setting_fields() if field.name.endswith("_uri")]
    addresses = [S3Uri.parse(settings.require(name)) for name in names if name != "scans_uri"]
    addresses += ScanPrefixes.parse(settings.require("scans_uri"))
    for name in sorted({address.bucket for address in addresses}):
        click.echo(f"{name}: {'made' if store.ensure_bucket(name) else 'is there'}")
