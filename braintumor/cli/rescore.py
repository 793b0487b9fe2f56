"""``braintumor rescore``."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Any

import click

from braintumor.cli.model_names import complete
from braintumor.cli.show import as_json, command_key, print_json
from braintumor.config.airflow_connections import settings_of

_time = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


def _in_utc(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


@click.command(epilog='Example: braintumor rescore --predicted-by vgg16-20260301 --reason "it called tumors normal"')
@click.option(
    "--predicted-by", "of", multiple=True, metavar="NAME", shell_complete=complete,
    help="Scans whose standing answer is by this model; may be given again. Default: by any withdrawn model.",
)  # fmt: skip
@click.option(
    "--model", "model", metavar="NAME", shell_complete=complete, help="Who is to answer. Default: the champion."
)
@click.option(
    "--allow-non-champion", "is_approved", is_flag=True,
    help="A model that is not the champion may answer: one that was champion, or that the gate passed.",
)  # fmt: skip
@click.option("--reason", required=True, help="Why, for the ledger.")
@click.option("--since", type=_time, callback=_in_utc, help="Only answers scored from then on (UTC unless it says).")
@click.option("--until", type=_time, callback=_in_utc, help="Only answers scored before then.")
@click.option("--limit", type=click.IntRange(min=1), help="So many scans at most, those answered last first.")
@click.option("--run-key", help="Name of the run: the same name goes on with a rescore that was interrupted.")
@as_json
def rescore(run_key: str | None, is_json: bool, **request: Any) -> None:
    """Have the champion answer scans that another model answered; its answers stand from then on.

    The rows before are kept. A page with what changed, worst first, is written beside the models.
    """
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import rescore as rescore_scans
    from braintumor.rescoring.request import RescoreRequest

    key = run_key or command_key()
    click.echo(f"run key, to go on with after an interruption: {key}", err=True)
    with decoders_closed_at_end():
        done = rescore_scans(
            settings_of("scorer"),
            RescoreRequest(actor=getpass.getuser(), **request),
            run_key=key,
            say=lambda words: click.echo(words, err=True),
            on_chunk=lambda number, total: click.echo(f"chunk {number} of {total}", err=True),
        )
    if is_json:
        print_json({name: value for name, value in done.items() if name != "markdown"})
    else:
        click.echo(f"{done['markdown']}\nThe page with the pictures: {done['page_uri']}")
