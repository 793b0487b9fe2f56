"""Find new objects: stream the S3 listing into Postgres, and compare it with the scan table.

Bucket, key and etag together identify an object version. Discovery compares all three, so it also finds objects that
arrive late, are overwritten or are uploaded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor.dataset.images.folder_layout import is_litter
from braintumor.db.database import advisory_lock, copy_rows, transaction
from braintumor.db.statements import statement
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri, is_usable_key, storable_key
from braintumor.scoring.run import ScoringRun

_BATCH = 5_000
"""Number of listed objects that are copied to Postgres at a time."""

_COLUMNS = ("bucket", "key", "etag", "size_bytes", "arrived_at", "is_ignored", "has_usable_key")


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """Hold the numbers of objects that a run listed, by what the run does with them.

    Objects that an earlier run has processed have no count of their own.

    Attributes:
        count_seen: all objects under the prefixes.
        count_new: objects to score whose key is new.
        count_changed: objects to score whose key is known and whose etag is new.
        count_unsupported: new objects that the run ignores.
        count_retried: known objects to score now. Their scans are pending, or S3 refused them, or they were superseded
            and are listed again.
        count_unusable_key: objects with a key that Postgres cannot store. Every run ignores them. The new ones are also
            in ``count_unsupported``.
    """

    count_seen: int
    count_new: int
    count_changed: int
    count_unsupported: int
    count_retried: int
    count_unusable_key: int = 0

    def __str__(self) -> str:
        unusable = self.count_unusable_key
        return (
            f"{self.count_seen} objects seen: {self.count_new} new, {self.count_changed} changed, "
            f"{self.count_unsupported} ignored, {self.count_retried} retried"
            + (f". Postgres cannot store the keys of {unusable} objects: rename them" if unusable else "")
        )


def discover(engine: Engine, store: ObjectStore, run: ScoringRun) -> Discovery:
    """List the run's prefixes, add new objects to the scan table, and return the counts, in one transaction.

    A run lists only once. If the run has listed before, for example because its task was cleared, the function returns
    the stored counts.

    Raises:
        BucketMissingError: a bucket does not exist. Nothing was written.
        ObjectStoreUnreachableError: the listing is incomplete. Nothing was written.
    """
    with transaction(engine) as connection:
        stored = _stored(connection, run)
        if stored is not None:
            return stored
        _keep_state_before(connection)
        count_seen = _copy_listing(connection, (_listed(prefix, e) for prefix in run.scans for e in store.list(prefix)))
        advisory_lock(connection, "discovery")  # one run at a time adds scans
        stored = _stored(connection, run)
        if stored is not None:  # another attempt at this run stored it meanwhile
            return stored
        _join_scans(connection)
        _add_new(connection, run)
        connection.execute(statement("scoring/discover_mark_replaced"))
        _reopen(connection, run)
        _close_vanished(connection, run)
        _record(connection, run, count_seen)
        discovery = _stored(connection, run)
        assert discovery is not None
        return discovery


def _keep_state_before(connection: Connection) -> None:
    """Copy the IDs of pending scans and of listed runs to temporary tables, before this run lists."""
    connection.execute(
        text("""
        create temporary table waiting_before on commit drop as select scan_id from scan where state = 'pending';
        create temporary table listed_before on commit drop as
        select scoring_run_id from scoring_run where listed_at is not null""")
    )


def _listed(prefix: S3Uri, entry: ObjectEntry) -> tuple[object, ...]:
    """Return the row of a listed object, with the columns ``_COLUMNS``."""
    has_usable_key = is_usable_key(entry.key)
    return (
        entry.bucket,
        storable_key(entry.key),
        entry.etag,
        entry.size,
        entry.modified_at.isoformat(),
        not has_usable_key or is_litter(entry.key.removeprefix(prefix.key)),
        has_usable_key,
    )


def _copy_listing(connection: Connection, entries: Iterator[tuple[object, ...]]) -> int:
    """Stream the listing into a temporary table, and return the number of listed objects."""
    connection.execute(
        text("""
        create temporary table listing (
            position bigint generated always as identity,
            bucket text, key text, etag text, size_bytes bigint, arrived_at timestamptz, is_ignored boolean,
            has_usable_key boolean
        ) on commit drop""")
    )
    count = 0
    for batch in _fetched_ahead(entries):
        copy_rows(connection, "listing", _COLUMNS, batch)
        count += len(batch)
    return count


def _fetched_ahead(entries: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield the listing in batches. A thread fetches the next batch while the caller stores the current batch."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: list(islice(entries, _BATCH)))
        while batch := future.result():
            future = pool.submit(lambda: list(islice(entries, _BATCH)))
            yield batch


def _stored(connection: Connection, run: ScoringRun) -> Discovery | None:
    columns = ", ".join(f"coalesce({name}, 0) as {name}" for name in Discovery.__dataclass_fields__)
    row = connection.execute(
        text(f"select {columns} from scoring_run where scoring_run_id = :run and listed_at is not null"),
        {"run": run.scoring_run_id},
    ).one_or_none()
    return None if row is None else Discovery(**row._mapping)


def _join_scans(connection: Connection) -> None:
    """Create the temporary table ``seen``: the listing with the scan ID of each object version."""
    connection.execute(text("analyze listing"))
    connection.execute(text("set local work_mem = '64MB'"))  # so that the join of a million keys stays in memory
    connection.execute(statement("scoring/discover_join_scans"))
    connection.execute(text("analyze seen"))


def _add_new(connection: Connection, run: ScoringRun) -> None:
    """Insert a row of ``scan`` and a row of ``scan_location`` for each new object version."""
    connection.execute(
        text("""
        insert into scan (scan_id, scoring_run_id, state, size_bytes, arrived_at, processed_at)
        overriding system value
        select
            scan_id, :run, cast(case when is_ignored then 'ignored' else 'pending' end as scan_state),
            size_bytes, arrived_at, case when is_ignored then now() end
        from seen
        where is_new"""),
        {"run": run.scoring_run_id},
    )
    connection.execute(
        text("""
        insert into scan_location (scan_id, bucket, key, etag)
        select scan_id, bucket, key, etag from seen where is_new""")
    )
    connection.execute(
        text("""
        insert into scan_outcome (scoring_run_id, scan_id, outcome)
        select :run, scan_id, 'ignored' from seen where is_new and is_ignored"""),
        {"run": run.scoring_run_id},
    )


def _reopen(connection: Connection, run: ScoringRun) -> None:
    """Set listed scans back to pending if they were superseded, or if S3 refused their object."""
    connection.execute(
        statement("scoring/discover_reopen"), {"run": run.scoring_run_id, "refused": RejectionReason.ACCESS_DENIED}
    )


def _close_vanished(connection: Connection, run: ScoringRun) -> None:
    """Set pending scans to superseded if their object no longer exists.

    Scans of a chunk with an unexpired lease do not change. Scans that another run listed after this listing started do
    not change either, because that listing is newer.
    """
    connection.execute(
        statement("scoring/discover_close_vanished"),
        {
            "run": run.scoring_run_id,
            "buckets": [uri.bucket for uri in run.scans],
            "prefixes": [uri.key for uri in run.scans],
        },
    )


def _record(connection: Connection, run: ScoringRun, count_seen: int) -> None:
    """Store the listed scans of the run and the counts of ``Discovery``, before any scoring."""
    values = {"run": run.scoring_run_id, "seen": count_seen}
    connection.execute(
        text("""
        insert into scoring_run_object (scoring_run_id, scan_id, is_known)
        select
            :run, scan_id,
            not is_new and scan_id not in (select pending.scan_id from scan as pending where state = 'pending')
        from seen"""),
        values,
    )
    connection.execute(statement("scoring/discover_record_counts"), values)
