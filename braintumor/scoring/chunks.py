"""Divide a run's pending scans into chunks, and process the chunks one after the other.

One task claims and scores one chunk. It scores the chunk in steps of a few scans, and commits each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ObjectStoreUnreachableError, UnbalancedRunError
from braintumor.scoring.lease import IS_AT_WORK
from braintumor.scoring.run import ScoringRun

T = TypeVar("T")

CHUNK_SIZE = 1_000
"""Default number of scans in a chunk. The start of a task costs about as much as 300 scans outside inference.

A crash loses at most one step of 32 scans, because a worker commits each step.
"""

MAX_CHUNKS = 1_000
"""Largest number of chunks in a run, because Airflow maps at most 1,024 tasks.

The remaining scans count as deferred, and the next run scores them.
"""


def plan_chunks(
    engine: Engine, run: ScoringRun, *, chunk_size: int = CHUNK_SIZE, max_chunks: int = MAX_CHUNKS
) -> list[int]:
    """Return the chunk numbers of a run in ascending order.

    The first call plans the chunks: at most ``max_chunks`` chunks of ``chunk_size`` scans. A retry returns the same
    numbers. The plan has the pending scans that this run listed, including those that an earlier run planned. It omits
    scans in a chunk with an unexpired lease, because another run processes these scans.
    """
    with transaction(engine) as connection:
        is_planned = connection.scalar(
            text("select planned_at is not null from scoring_run where scoring_run_id = :run for update"),
            {"run": run.scoring_run_id},
        )
        if not is_planned:
            _divide(connection, run, chunk_size=chunk_size, limit=chunk_size * max_chunks)
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
    """Score chunks one after the other, then reconcile the run. Scoring runs and rescores share this function.

    If S3 does not deliver some scans of a chunk, the next chunks are still scored.

    Args:
        chunk_numbers: the chunks to score, in this order.
        score: scores the chunk with the given number.
        load: loads the model before the first chunk. If it fails, no chunk is scored.
        progress: receives a line of text after each chunk.
        reconcile: checks after the last chunk that the run balances.

    Returns:
        The result of ``reconcile``.

    Raises:
        ObjectStoreUnreachableError: the run does not balance, and S3 was unreachable earlier. The S3 error is the
            cause, and a retry can succeed.
        UnbalancedRunError: the run does not balance for another reason.
    """
    first_error: ObjectStoreUnreachableError | None = None
    try:
        if chunk_numbers:
            load()
    except ObjectStoreUnreachableError as error:
        first_error, chunk_numbers = error, ()
    for count_done, chunk_number in enumerate(chunk_numbers, start=1):
        try:
            score(chunk_number)
        except ObjectStoreUnreachableError as error:
            first_error = first_error or error
        progress(f"chunk {count_done} of {len(chunk_numbers)}")
    try:
        return reconcile()
    except UnbalancedRunError as error:
        raise first_error or error from None


def _divide(connection: Connection, run: ScoringRun, *, chunk_size: int, limit: int) -> None:
    values = {"run": run.scoring_run_id, "chunk_size": chunk_size, "limit": limit}
    connection.execute(
        text(f"""
        create temporary table planned on commit drop as
        with free as (
            select scan.scan_id
            from scan
            join scoring_run_object as object on object.scan_id = scan.scan_id and object.scoring_run_id = :run
            where scan.state = 'pending' and not {IS_AT_WORK}
            order by scan.scan_id
            limit :limit
            for update of scan skip locked
        )
        select scan_id, ((row_number() over (order by scan_id) - 1) / :chunk_size)::integer as chunk_number
        from free"""),
        values,
    )
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
