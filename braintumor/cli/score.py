"""``braintumor score``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, command_key, print_json
from braintumor.config.airflow_connections import settings_of


@click.command(epilog="Example: braintumor score s3://hospital/scans/,s3://research/")
@click.argument("prefixes", required=False)
@click.option("--run-key", help="Name of the run: the same name goes on with a run that was interrupted.")
@click.option("--second-model", metavar="NAME", help="Ask this model too, and mark where it disagrees.")
@as_json
def score(prefixes: str | None, run_key: str | None, second_model: str | None, is_json: bool) -> None:
    """Score every scan under the S3 PREFIXES (default: BRAINTUMOR_SCANS_URI) that the ledger does not know yet.

    Each ends in /; several have commas between them.
    """
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.scoring.job import run_scoring_job

    with decoders_closed_at_end():
        balance = run_scoring_job(
            settings_of("scorer"),
            run_key=run_key or command_key(),
            scans_uri=prefixes,
            second_model=second_model,
            progress=lambda text: click.echo(text, err=True),
        )
    if is_json:
        print_json(asdict(balance))
    else:
        click.echo(str(balance))
