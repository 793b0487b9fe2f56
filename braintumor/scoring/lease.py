"""Claim a chunk, keep the claim alive, and settle it: the transactions between which all work happens.

A claim raises the chunk's attempt, which is its fencing token: only the newest attempt may settle, so a worker that
was thought dead and comes back writes nothing. Leases use the database's clock. A worker that fails in order gives its
lease back; one that dies leaves it, and so the next one knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from threading import Event, Thread

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import copy_rows, transaction
from braintumor.errors import DatabaseError, ScoringRunError, StaleClaimError
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.s3 import S3Uri
from braintumor.scoring.predictions import PREDICTION_COLUMNS, SAME_ANSWER, of_same_answer, write_predictions
from braintumor.scoring.run import ScoringRun
from braintumor.serving.prediction import Answer

LEASE_SECONDS = 120

DEATHS = 3
"""So many workers may die alone with a scan before it is set aside."""

UNREAD_IN_A_ROW = 16
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

    ``count_alone``: how often a worker took it up alone without coming to an end.
    """

    scan_id: int
    location: S3Uri
    etag: str
    size_byte: int
    count_alone: int


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


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """What reading a scan found out about it, beside its frames: columns of ``scan``.

    Pseudonyms are keyed, never raw identifiers. ``audit_probability`` is that with which the scan was drawn into the
    audit sample, before it was scored; ``None`` where it was not drawn.
    """

    format: str
    content_sha256: str
    pixel_sha256: str
    study_pseudonym: str | None
    series_pseudonym: str | None
    patient_pseudonym: str | None
    audit_probability: float | None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A scan with one answer per frame."""

    scan_id: int
    facts: ScanFacts
    answers: tuple[Answer, ...]

    @property
    def count_frame(self) -> int:
        """How many frames have an answer."""
        return len(self.answers)


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A scan that takes over the answers of ``original_id``: of the same bytes, and settled before it or with it."""

    scan_id: int
    facts: ScanFacts
    original_id: int
    count_frame: int


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A scan that cannot be scored."""

    scan_id: int
    rejection: Rejection


@dataclass(frozen=True, kw_only=True)
class Superseded:
    """A scan whose object was overwritten or removed after it was listed: the next run finds what is there now."""

    scan_id: int


Outcome = Scored | Copied | Rejected | Superseded


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
            returning scan.scan_id, bucket, key, etag, size_byte, count_alone"""),
            {"run": run.scoring_run_id, "chunk": chunk_number},
        ).all()
    scans = [
        ClaimedScan(
            scan_id=row.scan_id,
            location=S3Uri(bucket=row.bucket, key=row.key),
            etag=row.etag,
            size_byte=row.size_byte,
            count_alone=row.count_alone,
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
        _fence(connection, held)
        connection.execute(
            text("""
            update scoring_chunk set lease_expires_at = clock_timestamp() + make_interval(secs => :lease)
            where scoring_run_id = :run and chunk_number = :chunk"""),
            {"run": held.run.scoring_run_id, "chunk": held.chunk_number, "lease": LEASE_SECONDS},
        )


@contextmanager
def kept_alive(engine: Engine, held: Claim) -> Iterator[None]:
    """Prolong the lease beside the work, however long a file takes; give it back after a failure in good order.

    A timeout of the task leaves the lease behind, as a death does, so the next attempt isolates the scans.
    """
    try:
        with _prolonging(engine, held):
            yield
    except StaleClaimError:
        raise
    except ORDERLY:
        with suppress(DatabaseError):
            release(engine, held)
        raise


@contextmanager
def _prolonging(engine: Engine, held: Claim) -> Iterator[None]:
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
def alone(engine: Engine, held: Claim, scan: ClaimedScan) -> Iterator[None]:
    """Work on one scan that may kill its worker: counted before, and not counted after a failure in good order.

    A timeout of the task stays counted, as a death does.

    Raises:
        StaleClaimError: somebody claimed the chunk since.
    """
    _count_alone(engine, held, scan, 1)
    try:
        yield
    except ORDERLY:
        _count_alone(engine, held, scan, -1)
        raise


def _count_alone(engine: Engine, held: Claim, scan: ClaimedScan, change: int) -> None:
    with transaction(engine) as connection:
        _fence(connection, held)
        connection.execute(
            text("update scan set count_alone = count_alone + :change where scan_id = :scan"),
            {"change": change, "scan": scan.scan_id},
        )


def settle(
    engine: Engine, held: Claim, outcomes: Sequence[Outcome], *, stage_seconds: Mapping[str, float] | None = None
) -> None:
    """Write the outcomes of scans of a chunk, and with ``stage_seconds`` close it, in one transaction.

    Raises:
        StaleClaimError: somebody claimed the chunk, or planned its scans again, since; nothing was written.
    """
    scored = [outcome for outcome in outcomes if isinstance(outcome, Scored | Copied)]
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    superseded = [outcome for outcome in outcomes if isinstance(outcome, Superseded)]
    with transaction(engine) as connection:
        _fence(connection, held)
        _settle_scored(connection, held, scored)
        _settle_without_answer(connection, held, "rejected", [outcome.scan_id for outcome in rejected])
        _settle_without_answer(connection, held, "superseded", [outcome.scan_id for outcome in superseded])
        copy_rows(
            connection,
            "rejection",
            ["scan_id", "scoring_run_id", "reason", "detail"],
            ((r.scan_id, held.run.scoring_run_id, r.rejection.reason, r.rejection.detail) for r in rejected),
        )
        _store_outcomes(connection, held, {"scored": scored, "rejected": rejected, "superseded": superseded})
        if stage_seconds is not None:
            _close(connection, held, stage_seconds)


def _store_outcomes(connection: Connection, held: Claim, settled: Mapping[str, Sequence[Outcome]]) -> None:
    """Store what this run did with each scan, because a later run or a requeue changes the scan's state."""
    rows = ((held.run.scoring_run_id, each.scan_id, name) for name, group in settled.items() for each in group)
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


def _fence(connection: Connection, held: Claim) -> None:
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


def _settle_scored(connection: Connection, held: Claim, scored: Sequence[Scored | Copied]) -> None:
    connection.execute(
        text("""
        create temporary table settled (
            scan_id bigint, count_frame integer, format text, content_sha256 text, pixel_sha256 text,
            study_pseudonym text, series_pseudonym text, patient_pseudonym text, audit_probability real
        ) on commit drop""")
    )
    columns = [field.name for field in fields(ScanFacts)]
    copy_rows(
        connection,
        "settled",
        ["scan_id", "count_frame", *columns],
        ((s.scan_id, s.count_frame, *(getattr(s.facts, name) for name in columns)) for s in scored),
    )
    updated = connection.execute(
        text(f"""
        update scan
        set state = 'scored', settled_at = clock_timestamp(), count_frame = settled.count_frame,
            {", ".join(f"{name} = settled.{name}" for name in columns)}
        from settled
        where settled.scan_id = scan.scan_id and state = 'pending' and scoring_run_id = :run and chunk_number = :chunk
        """),
        {"run": held.run.scoring_run_id, "chunk": held.chunk_number},
    )
    _require_all(updated.rowcount, len(scored), held)
    answers = ((scan.scan_id, scan.answers) for scan in scored if isinstance(scan, Scored))
    write_predictions(
        connection, answers, scoring_run_id=held.run.scoring_run_id, model=held.run.model, scored_by=held.run.engine
    )
    _copy_predictions(connection, held, [scan for scan in scored if isinstance(scan, Copied)])


def _settle_without_answer(connection: Connection, held: Claim, state: str, scan_ids: list[int]) -> None:
    updated = connection.execute(
        text("""
        update scan set state = cast(:state as scan_state), settled_at = clock_timestamp()
        where scan_id = any(:ids) and state = 'pending' and scoring_run_id = :run and chunk_number = :chunk"""),
        {"state": state, "ids": scan_ids, "run": held.run.scoring_run_id, "chunk": held.chunk_number},
    )
    _require_all(updated.rowcount, len(scan_ids), held)


def _require_all(updated: int, expected: int, held: Claim) -> None:
    if updated != expected:
        raise StaleClaimError(
            f"{expected - updated} scans of chunk {held.chunk_number} of run {held.run.scoring_run_id} were planned "
            "again by another run. That run scores them; nothing was written here."
        )


def _copy_predictions(connection: Connection, held: Claim, copied: Sequence[Copied]) -> None:
    taken = ", ".join(name for name in PREDICTION_COLUMNS if name not in {"scan_id", "scoring_run_id"})
    written = connection.execute(
        text(f"""
        insert into prediction (scan_id, scoring_run_id, copied_from_scan_id, {taken})
        select copy.scan_id, :run, coalesce(copied_from_scan_id, prediction.scan_id), {taken}
        from unnest(cast(:scans as bigint[]), cast(:originals as bigint[])) as copy (scan_id, original_id)
        join prediction on prediction.scan_id = copy.original_id
        where {SAME_ANSWER}"""),
        {
            "run": held.run.scoring_run_id,
            "scans": [scan.scan_id for scan in copied],
            "originals": [scan.original_id for scan in copied],
            **of_same_answer(held.run),
        },
    ).rowcount
    if written != sum(scan.count_frame for scan in copied):
        raise ScoringRunError(
            f"Answers that copies in chunk {held.chunk_number} of run {held.run.scoring_run_id} were to take over were "
            "removed meanwhile. Nothing was written: clear the task, and the copies are scored themselves."
        )
