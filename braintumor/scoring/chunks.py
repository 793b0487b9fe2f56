"""Divide a run's pending scans into chunks, and process the chunks one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ObjectStoreUnreachableError, UnbalancedRunError
from braintumor.scoring.run import ScoringRun

T = TypeVar("T")

CHUNK_SIZE = 1_000
"""Default number of scans in a chunk.

The start of a task takes about as long as the processing of 300 scans without inference. A crash loses at most two
steps of 32 scans, because a worker commits each step.
"""

_SHOWN_SECONDS = 60
"""Shortest remaining time, in seconds, that the progress messages show."""

MAX_CHUNKS = 1_000
"""Largest number of chunks in a run. Airflow maps at most 1,024 tasks. The next run scores the other scans."""


def plan_chunks(engine: Engine, run: ScoringRun, *, chunk_size: int = CHUNK_SIZE) -> list[int]:
    """Divide the run's pending scans into chunks, and return the chunk numbers in ascending order.

    The first call makes the plan, and a retry returns the same numbers. The plan has the pending scans that this run
    listed, including scans that an earlier run planned. The plan omits scans that a worker of another run processes.
    """
    with transaction(engine) as connection:
        is_planned = connection.scalar(
            text("select planned_at is not null from scoring_run where scoring_run_id = :run for update"),
            {"run": run.scoring_run_id},
        )
        if not is_planned:
            _divide(connection, run, chunk_size=chunk_size, limit=chunk_size * MAX_CHUNKS)
            connection.execute(
                text("update scoring_run set planned_at = now() where scoring_run_id = :run"),
                {"run": run.scoring_run_id},
            )
        numbers = connection.scalars(
            text("select chunk_number from scoring_chunk where scoring_run_id = :run order by chunk_number"),
            {"run": run.scoring_run_id},
        )
        return list(numbers)


def process_chunks(
    chunk_numbers: Sequence[int],
    score: Callable[[int], object],
    *,
    load: Callable[[], object],
    progress: Callable[[str], None],
    reconcile: Callable[[], T],
) -> T:
    """Score chunks one after the other, then return the result of ``reconcile``.

    Scoring runs and rescores share this function. ``load`` loads the model before the first chunk. If S3 does not
    deliver the model, no chunk is scored. If S3 does not deliver some scans of a chunk, the next chunks are still
    scored.

    Raises:
        ObjectStoreUnreachableError: the run does not balance, and S3 was unreachable earlier. A retry can succeed.
        UnbalancedRunError: the run does not balance for another reason.
    """
    first_error: ObjectStoreUnreachableError | None = None
    try:
        if chunk_numbers:
            load()
    except ObjectStoreUnreachableError as error:
        first_error, chunk_numbers = error, ()
    started = time.monotonic()
    for count_done, chunk_number in enumerate(chunk_numbers, start=1):
        try:
            score(chunk_number)
        except ObjectStoreUnreachableError as error:
            first_error = first_error or error
        seconds_left = (time.monotonic() - started) / count_done * (len(chunk_numbers) - count_done)
        left = f", about {seconds_left / 60:.0f} min left" if seconds_left >= _SHOWN_SECONDS else ""
        progress(f"chunk {count_done} of {len(chunk_numbers)}{left}")
    try:
        return reconcile()
    except UnbalancedRunError as error:
        raise first_error or error from None


def _divide(connection: Connection, run: ScoringRun, *, chunk_size: int, limit: int) -> None:
    values = {"run": run.scoring_run_id, "chunk_size": chunk_size, "limit": limit}
    connection.execute(statement("scoring/plan_chunks"), values)
    connection.execute(
        text("""
        insert into scoring_chunk (scoring_run_id, chunk_number, count_scan)
        select :run, chunk_number, count(*) from planned group by chunk_number"""),
        values,
    )
    connection.execute(
        text("""
        update scan set scoring_run_id = :run, chunk_number = planned.chunk_number
        from planned where planned.scan_id = scan.scan_id"""),
        values,
    )
