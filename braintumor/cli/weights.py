"""Define the command ``braintumor weights``."""

from __future__ import annotations

from pathlib import Path

import click

from braintumor.config.airflow_connections import settings_of


@click.group()
def weights() -> None:
    """Store pretrained weights for machines without internet."""


@weights.command(epilog="Example: braintumor weights add mobilenet_v2_imagenet_notop.weights.h5")
@click.argument("file", type=click.Path(path_type=Path))
def add(file: Path) -> None:
    """Store the weights FILE and its sha256 under BRAINTUMOR_WEIGHTS_URI.

    The command detects the backbone that the weights fit, and stores FILE under the backbone's name.
    """
    from braintumor.training.pretrained_weights import add_weights

    settings = settings_of("trainer")
    click.echo(f"stored as weights of {add_weights(settings, file)} in {settings.require('weights_uri')}")
