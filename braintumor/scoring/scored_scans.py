"""Scans that have an answer: where they lie, and their frames as they were scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, Row, text

from braintumor.db.database import transaction
from braintumor.errors import (
    ObjectChangedError,
    ObjectMissingError,
    ObjectRefusedError,
    ObjectStoreUnreachableError,
)
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import PreparedScan
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri


@dataclass(frozen=True, kw_only=True)
class ScoredScan:
    """A scan with an answer, at the version that was scored. Its key can identify a patient: name it by its id."""

    scan_id: int
    location: S3Uri = field(repr=False)
    etag: str


class Unread(StrEnum):
    """Why a scan that was scored cannot be scored again. The value is what people read after its number."""

    GONE = "gone or overwritten since"
    REFUSED = "refused by S3"
    UNDELIVERED = "not delivered by S3"
    UNREADABLE = "not readable any more"


def newest_scored(engine: Engine, model: ModelVersion, *, limit: int) -> list[ScoredScan]:
    """The scans that ``model`` answered, those settled last first, ``limit`` at most."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
            select scan_id, bucket, key, etag
            from scan
            join scan_location using (scan_id)
            where state = 'scored'
              and exists (
                  select from prediction
                  where prediction.scan_id = scan.scan_id and prediction.model_version_id = :model)
            order by processed_at desc, scan_id desc
            limit :limit"""),
            {"model": model.model_version_id, "limit": limit},
        ).all()
    return [_scan(row) for row in rows]


def find_scans(engine: Engine, scan_ids: Sequence[int]) -> list[ScoredScan]:
    """The scans of these ids, each at the version that was scored."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("select scan_id, bucket, key, etag from scan_location where scan_id = any(:scans)"),
            {"scans": list(scan_ids)},
        ).all()
    return [_scan(row) for row in rows]


def _scan(row: Row[Any]) -> ScoredScan:
    return ScoredScan(scan_id=row.scan_id, location=S3Uri(bucket=row.bucket, key=row.key), etag=row.etag)


def is_anything_scored(engine: Engine) -> bool:
    """Whether production has any scored scan at all."""
    with transaction(engine) as connection:
        return bool(connection.scalar(text("select exists (select from scan where state = 'scored')")))


def read_frames(store: ObjectStore, scan: ScoredScan, *, size: int) -> PreparedScan | Unread:
    """The frames of the version that was scored, or why there are none. Safe in threads."""
    limits = Limits()
    try:
        data = store.read(scan.location, etag=scan.etag, max_bytes=limits.max_bytes)
    except (ObjectChangedError, ObjectMissingError):
        return Unread.GONE
    except ObjectRefusedError:
        return Unread.REFUSED
    except ObjectStoreUnreachableError:
        return Unread.UNDELIVERED
    found = default_pool().read(data, size=size, limits=limits)
    return Unread.UNREADABLE if isinstance(found, Rejection) else found.scan
