"""Define the command ``braintumor score``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, command_key, print_json
from braintumor.config.airflow_connections import settings_of


@click.command(epilog="Example: braintumor score s3://hospital/scans/,s3://research/")
@click.argument("prefixes", required=False)
@click.option("--run-key", help="Name of the run. The name of an interrupted run resumes it.")
@click.option("--second-model", metavar="NAME", help="Predict with this model too, and mark disagreements.")
@as_json
def score(prefixes: str | None, run_key: str | None, second_model: str | None, is_json: bool) -> None:
    """Score every new scan under the S3 PREFIXES.

    Each prefix ends in /. Separate several prefixes with commas. Default: BRAINTUMOR_SCANS_URI.
    """
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.scoring.job import run_scoring_job

    with decoders_closed_at_end():
        balance = run_scoring_job(
            settings_of("scorer"),
            run_key=run_key or command_key(),
            scans_uri=prefixes,
            second_model=second_model,
            progress=lambda message: click.echo(message, err=True),
        )
    if is_json:
        print_json(asdict(balance))
    else:
        click.echo(str(balance))
