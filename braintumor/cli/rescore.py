"""Define the command ``braintumor rescore``."""

from __future__ import annotations

import getpass
from typing import Any

import click

from braintumor.cli.model_names import complete
from braintumor.cli.show import as_json, command_key, print_json
from braintumor.cli.times import as_time
from braintumor.config.airflow_connections import settings_of


@click.command(
    epilog='Example: braintumor rescore --predicted-by vgg16-20260301 --reason "it predicted tumors as normal"'
)
@click.option(
    "--predicted-by", "of", multiple=True, metavar="NAME", shell_complete=complete,
    help="Scans whose current prediction is by this model. Repeatable. Default: by any withdrawn model.",
)  # fmt: skip
@click.option(
    "--model", "model", metavar="NAME", shell_complete=complete, help="The model that predicts. Default: the champion."
)
@click.option(
    "--allow-non-champion", "is_approved", is_flag=True,
    help="Allow a model that is not the champion: a former champion, or a model that the gate passed.",
)  # fmt: skip
@click.option("--reason", required=True, help="Reason, stored with the run.")
@click.option(
    "--since", metavar="TIME", callback=as_time, help="Only predictions since then (UTC unless it has an offset)."
)
@click.option("--until", metavar="TIME", callback=as_time, help="Only predictions before then.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of scans, latest predictions first.")
@click.option("--run-key", help="Name of the run. The name of an interrupted rescore resumes it.")
@as_json
def rescore(run_key: str | None, is_json: bool, **request: Any) -> None:
    """Predict scans of one model again with another model.

    The command takes the scans whose current prediction is by a model of --predicted-by. The champion predicts, unless
    --model names another model. The new predictions become the current predictions. The earlier predictions stay
    stored. A page next to the models in S3 shows the prediction changes, worst first.
    """
    from braintumor.imaging.sandbox.decoder_pool import decoders_closed_at_end
    from braintumor.rescoring.job import rescore as rescore_scans
    from braintumor.rescoring.request import RescoreRequest

    key = run_key or command_key()
    click.echo(f"run key, to resume after an interruption: {key}", err=True)
    with decoders_closed_at_end():
        done = rescore_scans(
            settings_of("scorer"),
            RescoreRequest(actor=getpass.getuser(), **request),
            run_key=key,
            progress=lambda message: click.echo(message, err=True),
        )
    if is_json:
        print_json({name: value for name, value in done.items() if name != "text"})
    else:
        click.echo(done["text"])
