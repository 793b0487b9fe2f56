"""Claim a chunk, renew its lease, and release the lease.

A lease is the time-limited claim of one attempt on a chunk. Each claim increments the attempt number of the chunk. Only
the newest attempt may commit (fencing), so a worker that lost its lease writes nothing. Leases use the database's
clock. A worker that fails normally releases its lease. A worker that crashes does not, so the next worker sees a lease
that was not released.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import DatabaseError, StaleClaimError
from braintumor.scoring.reading import ScanObject
from braintumor.scoring.run import ScoringRun

LEASE_SECONDS = 120

MAX_ISOLATED_ATTEMPTS = 3
"""Number of crashes in isolation after which a scan is rejected. In isolation, the worker processes only this scan."""

NORMAL_FAILURES = (Exception, KeyboardInterrupt)
"""Exceptions that do not count as a crash of the worker.

Every other exception counts as a crash, because a scan can cause it, for example Airflow's ``AirflowTaskTimeout``.
"""


@dataclass(frozen=True, kw_only=True)
class ClaimedScan(ScanObject):
    """Hold a scan to score. ``isolated_attempts`` counts the crashes of workers that processed only this scan."""

    isolated_attempts: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Represent the right to commit one chunk, until a newer attempt claims the chunk.

    ``attempt`` is the attempt number that each commit checks. ``after_crash`` is true if the previous attempt did not
    release its lease. ``scans`` are the chunk's pending scans, in the order of their IDs.
    """

    run: ScoringRun
    chunk_number: int
    attempt: int
    after_crash: bool
    scans: tuple[ClaimedScan, ...]


def claim(engine: Engine, run: ScoringRun, chunk_number: int) -> Claim | None:
    """Claim a chunk, and return the claim, or ``None`` if the chunk is already committed.

    The claim succeeds even if another worker holds a lease. That worker can then no longer commit.
    """
    with transaction(engine) as connection:
        chunk = connection.execute(
            statement("scoring/claim_chunk"), {"run": run.scoring_run_id, "chunk": chunk_number, "lease": LEASE_SECONDS}
        ).one_or_none()
        if chunk is None:
            return None
        rows = connection.execute(
            text("""
            update scan set count_attempt = count_attempt + 1
            from scan_location
            where scan_location.scan_id = scan.scan_id
              and scan.scoring_run_id = :run and scan.chunk_number = :chunk and scan.state = 'pending'
            returning scan.scan_id, bucket, key, etag, isolated_attempts"""),
            {"run": run.scoring_run_id, "chunk": chunk_number},
        ).all()
    scans = tuple(sorted(map(ClaimedScan.of_row, rows), key=lambda scan: scan.scan_id))
    return Claim(run=run, chunk_number=chunk_number, attempt=chunk.attempt, after_crash=chunk.after_crash, scans=scans)


def renew(engine: Engine, held: Claim) -> None:
    """Renew the lease of a claimed chunk. Raises ``StaleClaimError`` if a newer attempt claimed the chunk."""
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
    """Renew the lease in a thread while the ``with`` block runs, and release it after a normal failure of the block.

    ``NORMAL_FAILURES`` lists the normal failures. A crash or a timeout of the task does not release the lease. So the
    next attempt processes the suspected scans in isolation.
    """
    try:
        with _renewing_thread(engine, held):
            yield
    except StaleClaimError:
        raise
    except NORMAL_FAILURES:
        with suppress(DatabaseError):
            release(engine, held)
        raise


@contextmanager
def _renewing_thread(engine: Engine, held: Claim) -> Iterator[None]:
    """Renew the lease in a thread while the ``with`` block runs.

    Errors are ignored, because each commit checks the claim.
    """
    is_over = Event()

    def renew_regularly() -> None:
        while not is_over.wait(LEASE_SECONDS / 4):
            with suppress(DatabaseError, StaleClaimError):
                renew(engine, held)

    thread = Thread(target=renew_regularly, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def release(engine: Engine, held: Claim) -> None:
    """Release the lease after a normal failure. The lease of a newer attempt does not change."""
    with transaction(engine) as connection:
        connection.execute(
            text("""
            update scoring_chunk set lease_expires_at = null
            where scoring_run_id = :run and chunk_number = :chunk and attempt = :attempt and finished_at is null"""),
            {"run": held.run.scoring_run_id, "chunk": held.chunk_number, "attempt": held.attempt},
        )


@contextmanager
def isolated(engine: Engine, held: Claim, scan: ClaimedScan) -> Iterator[None]:
    """Add 1 to the isolated attempts of ``scan``, which the ``with`` block then processes alone.

    If the block raises one of ``NORMAL_FAILURES``, the 1 is taken away again. If the block ends normally, the scan is
    committed and the 1 stays. If the process crashes or the task times out, the attempt stays counted.
    """
    _count_isolated(engine, held, scan, 1)
    try:
        yield
    except NORMAL_FAILURES:
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
    """Lock the chunk of a claim until the transaction ends, so that no other worker can claim it.

    Raises ``StaleClaimError`` if a newer attempt has claimed the chunk.
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
            f"attempt {held.attempt} processed it. The newer attempt commits it, so nothing needs to be done."
        )
