"""Find scored scans and their objects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.registry.model_versions import ModelVersion
from braintumor.scoring.reading import ScanObject


def newest_scored(engine: Engine, model: ModelVersion, *, limit: int) -> list[ScanObject]:
    """Return at most ``limit`` scans that ``model`` scored, the most recently processed first."""
    with transaction(engine) as connection:
        rows = connection.execute(
            statement("scoring/newest_scored"), {"model": model.model_version_id, "limit": limit}
        ).all()
    return [ScanObject.of_row(row) for row in rows]


def find_scans(engine: Engine, scan_ids: Sequence[int]) -> list[ScanObject]:
    """Return the scans with these IDs, each with the etag of its scored version."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("select scan_id, bucket, key, etag from scan_location where scan_id = any(:scans)"),
            {"scans": list(scan_ids)},
        ).all()
    return [ScanObject.of_row(row) for row in rows]


def is_anything_scored(engine: Engine) -> bool:
    """Return whether at least one scan has been scored."""
    with transaction(engine) as connection:
        return bool(connection.scalar(text("select exists (select from scan where state = 'scored')")))
