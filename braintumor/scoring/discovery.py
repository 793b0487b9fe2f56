"""What is new under the prefix: the listing, streamed into Postgres and anti-joined there with the ledger.

There is no watermark: late, overwritten and re-uploaded objects are found, because (bucket, key, etag) is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from sqlalchemy import Connection, Engine, text

from braintumor.database import copy_rows, transaction
from braintumor.imaging.rejection import RejectionReason
from braintumor.objectstore import ObjectEntry, ObjectStore
from braintumor.scoring.claim import IS_AT_WORK
from braintumor.scoring.run import ScoringRun

_BATCH = 5_000
"""Rows in memory at a time."""

_NOT_SCANS = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir"}
"""Names that programs leave in folders: ignored by rule, not rejected."""


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """What a run saw, and how much of it is to be settled: never seen, or back after it was superseded or refused."""

    count_seen: int
    count_new: int


def discover(engine: Engine, store: ObjectStore, run: ScoringRun) -> Discovery:
    """List the run's prefix and enter what is new into the ledger, all in one transaction.

    A retry lists again and replaces what its predecessor saw, unless work has been planned from it: then the listing
    stands as it was stored.

    Raises:
        BucketMissingError: there is no such bucket; nothing was written.
        ObjectStoreUnreachableError: the listing broke off; nothing was written.
    """
    with transaction(engine) as connection:
        stored = _stored(connection, run)
        if stored is not None:
            return stored
        connection.execute(
            text("""
            create temporary table listing (
                bucket text, key text, etag text, size_byte bigint, arrived_at timestamptz, is_ignored boolean
            ) on commit drop""")
        )
        count_seen = _copy_listing(connection, store.list(run.scans))
        connection.execute(text("lock table scan_location in share row exclusive mode"))  # one run at a time enters
        count_new = _enter_new(connection, run) + _reopen(connection, run)
        _close_vanished(connection, run)
        discovery = Discovery(count_seen=count_seen, count_new=count_new)
        _record(connection, run, discovery)
        return discovery


def is_ignored(key: str) -> bool:
    """Folder markers and the litter of file managers are no scans."""
    return key.endswith("/") or PurePosixPath(key).name.lower() in _NOT_SCANS


def _copy_listing(connection: Connection, entries: Iterator[ObjectEntry]) -> int:
    """Stream the listing into its temporary table; returns how many objects the lister saw."""
    count = 0
    while batch := list(islice(entries, _BATCH)):
        copy_rows(
            connection,
            "listing",
            ["bucket", "key", "etag", "size_byte", "arrived_at", "is_ignored"],
            ((e.bucket, e.key, e.etag, e.size, e.modified_at.isoformat(), is_ignored(e.key)) for e in batch),
        )
        count += len(batch)
    return count


def _stored(connection: Connection, run: ScoringRun) -> Discovery | None:
    row = connection.execute(
        text("select count_seen, count_new from scoring_run where scoring_run_id = :run and listed_at is not null"),
        {"run": run.scoring_run_id},
    ).one_or_none()
    return None if row is None else Discovery(count_seen=row.count_seen, count_new=row.count_new)


def _enter_new(connection: Connection, run: ScoringRun) -> int:
    """One ledger row and one location per object version that the ledger has not seen."""
    return connection.execute(
        text("""
        with fresh as (
            select listing.*, nextval(pg_get_serial_sequence('scan', 'scan_id')) as scan_id
            from listing
            where not exists (
                select from scan_location
                where scan_location.bucket = listing.bucket
                  and scan_location.key = listing.key
                  and scan_location.etag = listing.etag)
        ),
        entered as (
            insert into scan (scan_id, scoring_run_id, state, size_byte, arrived_at, settled_at)
            overriding system value
            select
                scan_id, :run, cast(case when is_ignored then 'ignored' else 'pending' end as scan_state),
                size_byte, arrived_at, case when is_ignored then now() end
            from fresh
        )
        insert into scan_location (scan_id, bucket, key, etag)
        select scan_id, bucket, key, etag from fresh"""),
        {"run": run.scoring_run_id},
    ).rowcount


def _reopen(connection: Connection, run: ScoringRun) -> int:
    """What was superseded and lies there again, and what S3 refused: to be tried once more. Returns how many."""
    return connection.execute(
        text("""
        update scan
        set state = 'pending', settled_at = null, scoring_run_id = :run, chunk_number = null
        from listing
        join scan_location using (bucket, key, etag)
        where scan.scan_id = scan_location.scan_id
          and (scan.state = 'superseded' or scan.state = 'rejected' and exists (
                select from rejection
                where rejection.scan_id = scan.scan_id
                  and rejection.scoring_run_id = scan.scoring_run_id
                  and rejection.reason = :refused))"""),
        {"run": run.scoring_run_id, "refused": RejectionReason.ACCESS_DENIED},
    ).rowcount


def _close_vanished(connection: Connection, run: ScoringRun) -> None:
    """Scans that still wait but whose object lies there no more; one that a worker is at right now is left to it."""
    connection.execute(
        text(f"""
        update scan
        set state = 'superseded', settled_at = clock_timestamp(), scoring_run_id = :run, chunk_number = null
        from scan_location
        where scan_location.scan_id = scan.scan_id
          and scan.state = 'pending'
          and scan.discovered_at < now()  -- not entered by another run while this one was listing
          and scan_location.bucket = :bucket
          and starts_with(scan_location.key, :prefix)
          and not exists (
            select from listing
            where listing.bucket = scan_location.bucket
              and listing.key = scan_location.key
              and listing.etag = scan_location.etag)
          and not {IS_AT_WORK}"""),
        {"run": run.scoring_run_id, "bucket": run.scans.bucket, "prefix": run.scans.key},
    )


def _record(connection: Connection, run: ScoringRun, discovery: Discovery) -> None:
    """Store what was seen, before any work: the count of the lister, and each scan."""
    connection.execute(
        text("""
        insert into sighting (scoring_run_id, scan_id)
        select :run, scan_location.scan_id
        from listing
        join scan_location using (bucket, key, etag)"""),
        {"run": run.scoring_run_id},
    )
    connection.execute(
        text("""
        update scoring_run set count_seen = :seen, count_new = :new, listed_at = now()
        where scoring_run_id = :run"""),
        {"run": run.scoring_run_id, "seen": discovery.count_seen, "new": discovery.count_new},
    )
