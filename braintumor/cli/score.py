"""``braintumor score``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, command_key, print_json
from braintumor.settings import Settings


@click.command(epilog="Example: braintumor score s3://hospital/scans/")
@click.argument("prefix", required=False)
@click.option("--run-key", help="Name of the run: the same name goes on with a run that was interrupted.")
@as_json
def score(prefix: str | None, run_key: str | None, is_json: bool) -> None:
    """Score every scan under the S3 PREFIX (default: BRAINTUMOR_SCANS_URI) that the ledger does not know yet."""
    from braintumor.scoring.night import score_night

    balance = score_night(
        Settings.from_environment(),
        run_key=run_key or command_key(),
        scans_uri=prefix,
        say=lambda words: click.echo(words, err=True),
        on_chunk=lambda done, total: click.echo(f"chunk {done} of {total}", err=True),
    )
    if is_json:
        print_json(asdict(balance))
    else:
        click.echo(str(balance))
