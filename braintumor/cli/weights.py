"""``braintumor weights``."""

from __future__ import annotations

from pathlib import Path

import click

from braintumor.config.airflow_connections import settings_of


@click.group()
def weights() -> None:
    """Store pretrained weights in the mirror, for machines that cannot download them."""


@weights.command(epilog="Example: braintumor weights add mobilenet_v2_imagenet_notop.weights.h5")
@click.argument("file", type=click.Path(path_type=Path))
def add(file: Path) -> None:
    """Detect the backbone of FILE, and store it with its sha256 in the mirror (BRAINTUMOR_WEIGHTS_URI)."""
    from braintumor.training.pretrained_weights import add_weights

    click.echo(add_weights(settings_of("trainer"), file))
