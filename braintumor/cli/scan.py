"""Define the command ``braintumor scan``: show one scan, and retry rejected scans."""

from __future__ import annotations

import getpass
from datetime import datetime

import click

from braintumor.cli.show import as_json, print_json, print_values
from braintumor.cli.times import as_time
from braintumor.config.airflow_connections import settings_of
from braintumor.imaging.decoding.rejection import RejectionReason


@click.group()
def scan() -> None:
    """Show one scan, and retry rejected scans."""


@scan.command(epilog="Example: braintumor scan show 17")
@click.argument("scan_id", type=int, metavar="ID")
@click.option(
    "--location", "with_location", is_flag=True, help="Also show its S3 address. A key can identify a patient."
)
@as_json
def show(scan_id: int, with_location: bool, is_json: bool) -> None:
    """Show state, run, attributes, predictions and rejections of the scan with this ID.

    For a rejected scan the first line says what to do.
    """
    from braintumor.db import database
    from braintumor.scoring.scan_status import scan_record

    record = scan_record(database.connect(settings_of("scorer")), scan_id, with_location=with_location)
    if is_json:
        print_json(record)
        return
    if record["state"] == "rejected" and record["rejections"]:
        click.echo(f"to do: {record['rejections'][-1]['remedy']}")
    print_values(record)


@scan.command(epilog="Example: braintumor scan requeue --reason processing_failed --since 2026-03-01")
@click.option("--reason", required=True, type=click.Choice([reason.value for reason in RejectionReason]))
@click.option(
    "--since", metavar="TIME", callback=as_time, help="Only scans rejected since then (UTC unless it has an offset)."
)
@as_json
def requeue(reason: str, since: datetime | None, is_json: bool) -> None:
    """Reset scans that were rejected with this reason, so that the next scoring run tries these scans again."""
    from braintumor.db import database
    from braintumor.scoring.scan_status import requeue as requeue_scans

    count = requeue_scans(
        database.connect(settings_of("scorer")),
        RejectionReason(reason),
        actor=getpass.getuser(),
        since=since,
    )
    if is_json:
        print_json({"count_requeued": count})
    else:
        click.echo(f"{count} scans are pending again; the next scoring run processes them")
