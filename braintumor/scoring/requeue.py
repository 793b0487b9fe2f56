"""Send rejected scans back: they are pending again, and the next night that sees them settles them, once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.imaging.decoding.rejection import RejectionReason


def requeue(engine: Engine, reason: RejectionReason, *, actor: str, since: datetime | None = None) -> int:
    """Reopen the scans that stand rejected for ``reason`` (since then), and record who did; returns how many.

    The rejection stays on record. A scan that is pending already is left alone, so asking twice is done once.
    """
    with transaction(engine) as connection:
        return connection.execute(
            text("""
            with reopened as (
                update scan
                set state = 'pending', processed_at = null, chunk_number = null, isolated_attempts = 0
                from rejection
                where rejection.scan_id = scan.scan_id
                  and rejection.scoring_run_id = scan.scoring_run_id
                  and scan.state = 'rejected'
                  and rejection.reason = :reason
                  and rejection.rejected_at >= coalesce(cast(:since as timestamptz), '-infinity')
                returning scan.scan_id, scan.scoring_run_id
            )
            insert into scan_requeue (scan_id, scoring_run_id, reason, actor)
            select scan_id, scoring_run_id, :reason, :actor from reopened"""),
            {"reason": reason, "actor": actor, "since": since},
        ).rowcount
