"""``braintumor scan``: what became of one scan, and another try for rejected ones."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Any

import click

from braintumor.cli.show import as_json, print_json
from braintumor.connections import settings_of
from braintumor.imaging.rejection import RejectionReason


@click.group()
def scan() -> None:
    """What became of one scan, and another try for rejected ones."""


@scan.command(epilog="Example: braintumor scan show 17")
@click.argument("scan_id", type=int, metavar="ID")
@click.option("--location", "with_location", is_flag=True, help="Also where it lies: a key can identify a patient.")
@as_json
def show(scan_id: int, with_location: bool, is_json: bool) -> None:
    """State, run, facts, answers and rejections of the scan ID."""
    from sqlalchemy import text

    from braintumor import database
    from braintumor.errors import ScoringRunError

    with database.transaction(database.connect(settings_of("scorer"))) as connection:
        row = connection.execute(text("select * from scan where scan_id = :id"), {"id": scan_id}).one_or_none()
        if row is None:
            raise ScoringRunError(f"There is no scan of number {scan_id}. The worklist and `rejection` have numbers.")
        parts = {
            name: [dict(found._mapping) for found in connection.execute(text(sql), {"id": scan_id})]
            for name, sql in _PARTS.items()
            if name != "location" or with_location
        }
    for rejection in parts["rejections"]:
        rejection["remedy"] = RejectionReason(rejection["reason"]).remedy
    values: dict[str, Any] = {**row._mapping, **parts}
    if is_json:
        print_json(values)
        return
    for name, value in values.items():
        if name not in parts:
            click.echo(f"{name}: {value}")
        for item in value if name in parts else []:
            click.echo(f"{name}: " + ", ".join(f"{key} {part}" for key, part in item.items()))


@scan.command(epilog="Example: braintumor scan requeue --reason processing_failed --since 2026-03-01")
@click.option("--reason", required=True, type=click.Choice([reason.value for reason in RejectionReason]))
@click.option("--since", type=click.DateTime(formats=["%Y-%m-%d"]), help="Only those rejected from that day on (UTC).")
@as_json
def requeue(reason: str, since: datetime | None, is_json: bool) -> None:
    """Send scans that were rejected with this reason back: the next night tries them again."""
    from braintumor import database
    from braintumor.scoring.requeue import requeue as send_back

    count = send_back(
        database.connect(settings_of("scorer")),
        RejectionReason(reason),
        actor=getpass.getuser(),
        since=since and since.replace(tzinfo=UTC),
    )
    if is_json:
        print_json({"count_requeued": count})
    else:
        click.echo(f"{count} scans are pending again; the next night settles them")


_PARTS = {
    "predictions": """
        select
            frame_index, model_name, predicted_class::text as predicted_class, confidence, out_of_distribution,
            review_reasons, scored_at, copied_from_scan_id
        from prediction
        join model_version using (model_version_id)
        where scan_id = :id
        order by scored_at, frame_index""",
    "rejections": """
        select scoring_run_id, reason, detail, rejected_at
        from rejection
        where scan_id = :id
        order by scoring_run_id""",
    "requeues": "select scoring_run_id, reason, actor, requeued_at from scan_requeue where scan_id = :id",
    "location": "select bucket, key, etag from scan_location where scan_id = :id",
}
