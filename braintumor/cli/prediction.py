"""Define the command ``braintumor prediction``."""

from __future__ import annotations

import sys

import click

from braintumor.cli.show import as_json, print_json, print_values
from braintumor.config.airflow_connections import settings_of


@click.group()
def prediction() -> None:
    """Explain predictions."""


@prediction.command(epilog="Example: braintumor prediction explain 17 --replay")
@click.argument("scan_id", type=int)
@click.option("--frame", type=click.IntRange(min=0), default=0, show_default=True, help="Index of the frame.")
@click.option(
    "--model", metavar="NAME", help="The model of the prediction. Default: the model of the current prediction."
)
@click.option(
    "--replay", "is_replay", is_flag=True, help="Score again. Exit code 0: same prediction, 1: another prediction."
)
@as_json
def explain(scan_id: int, frame: int, model: str | None, is_replay: bool, is_json: bool) -> None:
    """Show the origin of a prediction of the scan SCAN_ID.

    The origin is the object, preprocessing, model, data, recipe, run and promotion.
    """
    from braintumor.db import database
    from braintumor.s3 import ObjectStore
    from braintumor.scoring import explain as explaining

    settings = settings_of("scorer")
    engine = database.connect(settings)
    values = explaining.explain(engine, scan_id, frame=frame, model=model)
    changed: list[str] = []
    if is_replay:
        changed = explaining.replay(settings, engine, ObjectStore.connect(settings), values)
        values = {"is_match": not changed, "changed": changed} | values
    if is_json:
        print_json(values)
    else:
        if (original := values["copied_from_scan_id"]) is not None:
            click.echo(f"a duplicate: the model scored scan {original}, which has the same bytes")
        print_values(values)
    sys.exit(1 if changed else 0)
