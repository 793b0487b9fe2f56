"""Show the record of one scan, and make rejected scans pending again."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ScoringRunError
from braintumor.imaging.decoding.rejection import RejectionReason

_SCAN: Final = """
    select
        scan_id, state::text as state, scoring_run_id, chunk_number, count_attempt, isolated_attempts, count_frame,
        size_bytes, format, content_sha256, pixel_sha256, study_pseudonym, series_pseudonym, patient_pseudonym,
        site_pseudonym, station_pseudonym, manufacturer, device_model, field_strength, sequence_family, age_band, sex,
        arrived_at, discovered_at, processed_at, audit_probability, is_replaced
    from scan
    where scan_id = :id"""
_LISTS: Final = {
    "predictions": """
        select frame_index, model_name, predicted_class::text as predicted_class, confidence,
            prediction_set::text[] as prediction_set, out_of_distribution, review_reasons, scored_at,
            copied_from_scan_id
        from prediction
        join model_version using (model_version_id)
        where scan_id = :id
        order by scored_at, frame_index""",
    "rejections": """
        select scoring_run_id, reason, detail, rejected_at
        from rejection
        where scan_id = :id
        order by scoring_run_id""",
    "requeues": """
        select scoring_run_id, reason, actor, requeued_at
        from scan_requeue
        where scan_id = :id
        order by requeued_at""",
    "location": "select bucket, key, etag from scan_location where scan_id = :id",
}


def scan_record(engine: Engine, scan_id: int, *, with_location: bool = False) -> dict[str, Any]:
    """Return the columns of a scan, and the lists ``predictions``, ``rejections`` (with remedies) and ``requeues``.

    ``with_location`` adds the list ``location`` with bucket, key and etag. It is absent by default, because a key can
    identify a patient. Raises ``ScoringRunError`` if there is no such scan.
    """
    with transaction(engine) as connection:
        scan = connection.execute(text(_SCAN), {"id": scan_id}).one_or_none()
        if scan is None:
            raise ScoringRunError(
                f"There is no scan {scan_id}. Take a scan ID from the worklist or from the table `rejection`."
            )
        lists = {
            name: [dict(row._mapping) for row in connection.execute(text(sql), {"id": scan_id})]
            for name, sql in _LISTS.items()
            if name != "location" or with_location
        }
    for rejection in lists["rejections"]:
        rejection["remedy"] = RejectionReason(rejection["reason"]).remedy
    return {**scan._mapping, **lists}


def requeue(engine: Engine, reason: RejectionReason, *, actor: str, since: datetime | None = None) -> int:
    """Set scans that were rejected for ``reason`` back to pending, and return their number.

    The rejections stay on record. ``since`` limits the selection to scans that were rejected at this time or later.
    ``actor`` is the recorded name of the person who requests it.
    """
    with transaction(engine) as connection:
        return connection.execute(
            statement("scoring/requeue"), {"reason": reason, "actor": actor, "since": since}
        ).rowcount
