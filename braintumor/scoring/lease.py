"""Claim a chunk, keep the claim alive, and settle it: the transactions between which all work happens.

A claim raises the chunk's attempt, which is its fencing token: only the newest attempt may settle, so a worker that
was thought dead and comes back writes nothing. Leases use the database's clock. A worker that fails in order gives its
lease back; one that dies leaves it, and so the next one knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.errors import DatabaseError, StaleClaimError
from braintumor.s3 import S3Uri
from braintumor.scoring.run import ScoringRun

LEASE_SECONDS = 120

MAX_ISOLATED_ATTEMPTS = 3
"""So many workers may die alone with a scan before it is set aside."""

MAX_CONSECUTIVE_READ_ERRORS = 16
"""After so many reads without an answer it is S3 that is away, not an object."""

ORDERLY = (Exception, KeyboardInterrupt)
"""Errors that end an attempt without suspicion against its scans: a failure that was reported, or a person's Ctrl-C.

Every other exception, such as Airflow's ``AirflowTaskTimeout``, counts like the worker's death. A scan can cause it.
"""

IS_AT_WORK = """exists (
    select from scoring_chunk
    where scoring_chunk.scoring_run_id = scan.scoring_run_id
      and scoring_chunk.chunk_number = scan.chunk_number
      and scoring_chunk.finished_at is null
      and scoring_chunk.lease_expires_at > now())"""
"""SQL: whether a worker is at the row of ``scan`` right now."""


@dataclass(frozen=True, kw_only=True)
class ClaimedScan:
    """A scan to score, and where it lies. Its key can identify a patient: name a scan by its id.

    ``isolated_attempts``: how often a worker took it up alone without coming to an end.
    """

    scan_id: int
    location: S3Uri
    etag: str
    size_bytes: int
    isolated_attempts: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to settle one chunk, as long as nobody claims it again.

    ``after_death``: the attempt before this one left its lease behind, so one of the scans may have killed it.
    """

    run: ScoringRun
    chunk_number: int
    attempt: int
    after_death: bool
    scans: tuple[ClaimedScan, ...]


def claim(engine: Engine, run: ScoringRun, chunk_number: int) -> Claim | None:
    """Take a chunk from whoever had it; ``None`` when it is settled already."""
    with transaction(engine) as connection:
        chunk = connection.execute(
            text("""
            with before as (
                select lease_expires_at is not null as after_death from scoring_chunk
                where scoring_run_id = :run and chunk_number = :chunk and finished_at is null
                for update
            )
            update scoring_chunk
            set attempt = attempt + 1, lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
            from before
            where scoring_run_id = :run and chunk_number = :chunk
            returning attempt, after_death"""),
            {"run": run.scoring_run_id, "chunk": chunk_number, "lease": LEASE_SECONDS},
        ).one_or_none()
        if chunk is None:
            return None
        rows = connection.execute(
            text("""
            update scan set count_attempt = count_attempt + 1
            from scan_location
            where scan_location.scan_id = scan.scan_id
              and scan.scoring_run_id = :run and scan.chunk_number = :chunk and scan.state = 'pending'
            returning scan.scan_id, bucket, key, etag, size_bytes, isolated_attempts"""),
            {"run": run.scoring_run_id, "chunk": chunk_number},
        ).all()
    scans = [
        ClaimedScan(
            scan_id=row.scan_id,
            location=S3Uri(bucket=row.bucket, key=row.key),
            etag=row.etag,
            size_bytes=row.size_bytes,
            isolated_attempts=row.isolated_attempts,
        )
        for row in rows
    ]
    ordered = tuple(sorted(scans, key=lambda scan: scan.scan_id))
    return Claim(
        run=run, chunk_number=chunk_number, attempt=chunk.attempt, after_death=chunk.after_death, scans=ordered
    )


def renew(engine: Engine, held: Claim) -> None:
    """Prolong the lease.

    Raises:
        StaleClaimError: somebody claimed the chunk since.
    """
    with transaction(engine) as connection:
        fence(connection, held)
        connection.execute(
            text("""
            update scoring_chunk set lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
            where scoring_run_id = :run and chunk_number = :chunk"""),
            {"run": held.run.scoring_run_id, "chunk": held.chunk_number, "lease": LEASE_SECONDS},
        )


@contextmanager
def heartbeat(engine: Engine, held: Claim) -> Iterator[None]:
    """Prolong the lease beside the work, however long a file takes; give it back after a failure in good order.

    A timeout of the task leaves the lease behind, as a death does, so the next attempt isolates the scans.
    """
    try:
        with _heartbeat_connection(engine, held):
            yield
    except StaleClaimError:
        raise
    except ORDERLY:
        with suppress(DatabaseError):
            release(engine, held)
        raise


@contextmanager
def _heartbeat_connection(engine: Engine, held: Claim) -> Iterator[None]:
    """A thread that prolongs the lease. That it cannot ends nothing: who settles finds out whose the chunk is."""
    is_over = Event()

    def prolong() -> None:
        while not is_over.wait(LEASE_SECONDS / 4):
            with suppress(DatabaseError, StaleClaimError):
                renew(engine, held)

    beside = Thread(target=prolong, name="lease", daemon=True)
    beside.start()
    try:
        yield
    finally:
        is_over.set()
        beside.join()


def release(engine: Engine, held: Claim) -> None:
    """Give the lease back after a failure in good order; somebody else's lease is left alone."""
    with transaction(engine) as connection:
        connection.execute(
            text("""
            update scoring_chunk set lease_expires_at = null
            where scoring_run_id = :run and chunk_number = :chunk and attempt = :attempt and finished_at is null"""),
            {"run": held.run.scoring_run_id, "chunk": held.chunk_number, "attempt": held.attempt},
        )


@contextmanager
def isolated(engine: Engine, held: Claim, scan: ClaimedScan) -> Iterator[None]:
    """Work on one scan that may kill its worker: counted before, and not counted after a failure in good order.

    A timeout of the task stays counted, as a death does.

    Raises:
        StaleClaimError: somebody claimed the chunk since.
    """
    _count_isolated(engine, held, scan, 1)
    try:
        yield
    except ORDERLY:
        _count_isolated(engine, held, scan, -1)
        raise


def _count_isolated(engine: Engine, held: Claim, scan: ClaimedScan, change: int) -> None:
    with transaction(engine) as connection:
        fence(connection, held)
        connection.execute(
            text("update scan set isolated_attempts = isolated_attempts + :change where scan_id = :scan"),
            {"change": change, "scan": scan.scan_id},
        )


def fence(connection: Connection, held: Claim) -> None:
    """Lock the chunk until the transaction ends.

    Raises:
        StaleClaimError: a newer attempt owns the chunk.
    """
    newest = connection.execute(
        text("""
        select attempt from scoring_chunk
        where scoring_run_id = :run and chunk_number = :chunk and finished_at is null
        for update"""),
        {"run": held.run.scoring_run_id, "chunk": held.chunk_number},
    ).scalar_one_or_none()
    if newest != held.attempt:
        raise StaleClaimError(
            f"Chunk {held.chunk_number} of run {held.run.scoring_run_id} was claimed again (attempt {newest}) while "
            f"attempt {held.attempt} worked on it. The newer attempt writes; nothing to do."
        )
