"""``braintumor bucket``."""

from __future__ import annotations

import click

from braintumor.config.settings import Settings, setting_fields


@click.group()
def bucket() -> None:
    """The S3 buckets that the settings name."""


@bucket.command(epilog="Example: braintumor bucket create")
def create() -> None:
    """Make each bucket of the settings (BRAINTUMOR_DATASET_URI, _SCANS_, _MODELS_, _WEIGHTS_) that is missing."""
    from braintumor.s3 import ObjectStore, S3Uri
    from braintumor.scoring.prefixes import ScanPrefixes

    settings = Settings.from_environment()
    store = ObjectStore.connect(settings)
    named = {field.name: settings.require(field.name) for field in setting_fields() if field.name.endswith("_uri")}
    addresses = list(ScanPrefixes.parse(named.pop("scans_uri")))
    if not S3Uri.is_meant_by(named["weights_uri"]):
        del named["weights_uri"]
    addresses += map(S3Uri.parse, named.values())
    for name in sorted({address.bucket for address in addresses}):
        click.echo(f"{name}: {'made' if store.ensure_bucket(name) else 'is there'}")
