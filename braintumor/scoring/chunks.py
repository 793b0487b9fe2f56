"""Divide a run's pending scans into chunks: a task claims and scores one, and commits each step of it."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.scoring.lease import IS_AT_WORK
from braintumor.scoring.run import ScoringRun

CHUNK_SIZE = 200
"""Scans a chunk: ten seconds to a minute of work."""

MAX_CHUNKS = 1_000
"""Airflow maps at most 1,024 tasks; what does not fit is deferred to the next run, and counted as such."""


def plan_chunks(
    engine: Engine, run: ScoringRun, *, chunk_size: int = CHUNK_SIZE, max_chunks: int = MAX_CHUNKS
) -> list[int]:
    """The chunk numbers of a run; planned once, found again by a retry.

    Pending scans of earlier runs are planned again, unless another run is at work on them right now: its lease has
    not expired.
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
        return _numbers(connection, run)


def _numbers(connection: Connection, run: ScoringRun) -> list[int]:
    rows = connection.scalars(
        text("select chunk_number from scoring_chunk where scoring_run_id = :run order by chunk_number"),
        {"run": run.scoring_run_id},
    )
    return list(rows)


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
