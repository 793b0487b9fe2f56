"""Write the outcomes of scans in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import copy_rows, transaction
from braintumor.db.statements import statement
from braintumor.errors import ScoringRunError, StaleClaimError
from braintumor.scoring.lease import Claim, fence
from braintumor.scoring.outcomes import (
    CopiedOutcome,
    Outcome,
    RejectedOutcome,
    ScanFacts,
    ScoredOutcome,
    SupersededOutcome,
)
from braintumor.scoring.predictions import same_prediction_values, write_predictions


def commit_outcomes(
    engine: Engine, held: Claim, outcomes: Sequence[Outcome], *, stage_seconds: Mapping[str, float] | None = None
) -> None:
    """Write the outcomes of scans of one chunk in one transaction.

    ``stage_seconds`` has the seconds of work per stage, such as ``read``. If ``stage_seconds`` is given, the
    transaction also stores it and closes the chunk.

    Raises:
        StaleClaimError: a newer attempt claimed the chunk, or another run took over the scans. Nothing was written.
    """
    scored = [outcome for outcome in outcomes if isinstance(outcome, ScoredOutcome | CopiedOutcome)]
    rejected = [outcome for outcome in outcomes if isinstance(outcome, RejectedOutcome)]
    superseded = [outcome for outcome in outcomes if isinstance(outcome, SupersededOutcome)]
    committed: dict[str, Sequence[Outcome]] = {"scored": scored, "rejected": rejected, "superseded": superseded}
    with transaction(engine) as connection:
        fence(connection, held)
        _commit_scans(connection, held, committed)
        _commit_predictions(connection, held, scored)
        copy_rows(
            connection,
            "rejection",
            ["scan_id", "scoring_run_id", "reason", "detail"],
            ((r.scan_id, held.run.scoring_run_id, r.rejection.reason, r.rejection.detail) for r in rejected),
        )
        _store_outcomes(connection, held, committed)
        if stage_seconds is not None:
            _close(connection, held, stage_seconds)


def _store_outcomes(connection: Connection, held: Claim, committed: Mapping[str, Sequence[Outcome]]) -> None:
    """Insert one row per scan with its outcome in this run.

    A scan's state does not replace this row, because a later run or a requeue changes the state.
    """
    rows = ((held.run.scoring_run_id, each.scan_id, name) for name, group in committed.items() for each in group)
    copy_rows(connection, "scan_outcome", ["scoring_run_id", "scan_id", "outcome"], rows)


def _close(connection: Connection, held: Claim, stage_seconds: Mapping[str, float]) -> None:
    connection.execute(
        text("""
        update scoring_chunk
        set finished_at = clock_timestamp(), lease_expires_at = null, stage_seconds = cast(:seconds as jsonb)
        where scoring_run_id = :run and chunk_number = :chunk"""),
        {
            "run": held.run.scoring_run_id,
            "chunk": held.chunk_number,
            "seconds": json.dumps({stage: round(value, 3) for stage, value in stage_seconds.items()}),
        },
    )


def _commit_scans(connection: Connection, held: Claim, committed: Mapping[str, Sequence[Outcome]]) -> None:
    """Write the states and the facts of the scans. ``committed`` has the outcomes by state."""
    columns = [field.name for field in fields(ScanFacts)]
    connection.execute(
        text(f"""
        create temporary table committed on commit drop as
        select scan_id, state, count_frame, {", ".join(columns)} from scan with no data""")
    )
    rows = (
        (
            each.scan_id,
            state,
            getattr(each, "count_frame", None),
            *(getattr(getattr(each, "facts", None), name, None) for name in columns),
        )
        for state, outcomes in committed.items()
        for each in outcomes
    )
    copy_rows(connection, "committed", ["scan_id", "state", "count_frame", *columns], rows)
    updated = connection.execute(
        text(f"""
        update scan
        set state = committed.state, processed_at = clock_timestamp(), count_frame = committed.count_frame,
            {", ".join(f"{name} = committed.{name}" for name in columns)}
        from committed
        where committed.scan_id = scan.scan_id and scan.state = 'pending'
          and scoring_run_id = :run and chunk_number = :chunk"""),
        {"run": held.run.scoring_run_id, "chunk": held.chunk_number},
    )
    _require_all(updated.rowcount, sum(map(len, committed.values())), held)


def _commit_predictions(connection: Connection, held: Claim, scored: Sequence[ScoredOutcome | CopiedOutcome]) -> None:
    predictions = ((scan.scan_id, scan.predictions) for scan in scored if isinstance(scan, ScoredOutcome))
    write_predictions(
        connection, predictions, scoring_run_id=held.run.scoring_run_id, model=held.run.model, backend=held.run.backend
    )
    _copy_predictions(connection, held, [scan for scan in scored if isinstance(scan, CopiedOutcome)])


def _require_all(updated: int, expected: int, held: Claim) -> None:
    if updated != expected:
        raise StaleClaimError(
            f"{expected - updated} scans of chunk {held.chunk_number} of run {held.run.scoring_run_id} were planned "
            "again by another run. That run scores them. Nothing was written here."
        )


def _copy_predictions(connection: Connection, held: Claim, copied: Sequence[CopiedOutcome]) -> None:
    written = connection.execute(
        statement("scoring/copy_predictions"),
        {
            "run": held.run.scoring_run_id,
            "scans": [scan.scan_id for scan in copied],
            "originals": [scan.original_id for scan in copied],
            **same_prediction_values(held.run),
        },
    ).rowcount
    if written != sum(scan.count_frame for scan in copied):
        raise ScoringRunError(
            f"Predictions for duplicates in chunk {held.chunk_number} of run {held.run.scoring_run_id} were deleted "
            "before they were copied. Nothing was written. Clear the task: it then scores the duplicates."
        )
