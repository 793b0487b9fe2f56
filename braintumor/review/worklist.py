"""List the scans that wait for a review, the riskiest first, and separately the audit sample.

Each scan has one row, its riskiest frame. Otherwise a volume of sixty slices would hide other scans. One key on the
page shows the other slices. A scan leaves the worklist when a reviewer has given a finding for one of its frames. The
prediction does not matter. A frame with different findings returns for a third reviewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor.db.database import transaction
from braintumor.labels import TumorClass
from braintumor.serving.prediction import ReviewReason

PAGE_SIZE = 50


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Hold the filters of the worklist. ``None`` means no filter. ``day`` is a date in UTC."""

    day: date | None = None
    predicted_class: TumorClass | None = None
    model: str | None = None
    reason: ReviewReason | None = None

    @property
    def is_audit(self) -> bool:
        """Check that the list is the audit sample, which shows no prediction."""
        return self.reason is ReviewReason.AUDIT_SAMPLE


@dataclass(frozen=True, kw_only=True)
class WorklistItem:
    """Hold a frame that waits for a review.

    In the audit sample, class, confidence and model are ``None``, and ``reasons`` is empty.
    """

    scan_id: int
    frame_index: int
    predicted_class: str | None
    confidence: float | None
    reasons: tuple[str, ...]
    model_name: str | None
    scored_at: datetime


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Hold the values that the filters offer."""

    days: Sequence[date]
    models: Sequence[str]


def list_worklist(engine: Engine, filters: Filters, *, person: str, count: int = PAGE_SIZE) -> list[WorklistItem]:
    """Return the first ``count`` scans that wait for the person's review, or all such scans if there are fewer."""
    with transaction(engine) as connection:
        rows = first_on_worklist(connection, filters, person=person, count=count)
    return [_item(row._mapping, is_audit=filters.is_audit) for row in rows]


def first_on_worklist(connection: Connection, filters: Filters, *, person: str, count: int) -> Sequence[Row[Any]]:
    """Return the first ``count`` waiting scans in the order of the worklist, one row per scan.

    The query reads only the beginning of the worklist. It reads more if many frames belong to one scan, or if the
    person has already reviewed many frames.
    """
    values = {
        "person": person,
        "day": filters.day,
        "class": filters.predicted_class,
        "model": filters.model,
        "reason": filters.reason,
        "count": count,
    }
    if filters.is_audit:
        return connection.execute(text(_AUDIT), values).all()
    limit = _FRAMES_PER_SCAN * count
    while True:
        frames = connection.execute(text(_RISKIEST), {**values, "limit": limit}).all()
        is_complete = not frames or frames[0].count_read < limit
        rows = [row for row in frames if row.scan_id is not None][:count]
        if is_complete or len(rows) == count:
            return rows
        limit *= 8


def list_choices(engine: Engine) -> Choices:
    """Return the days (UTC) with predictions, newest first, and the models of scoring runs."""
    with transaction(engine) as connection:
        days = connection.scalars(text(_DAYS)).all()
        models = connection.scalars(text(_MODELS)).all()
    return Choices(days=days, models=models)


def neighbors(
    connection: Connection, filters: Filters, *, person: str, scan_id: int, frame_index: int
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the waiting frames before and after a frame on the worklist.

    Each is (scan ID, frame index), or ``None`` at an end of the worklist. If the frame no longer waits, the result is
    ``None`` and the first waiting frame.
    """
    rows = first_on_worklist(connection, filters, person=person, count=_NEIGHBORS)
    order = [(row.scan_id, row.frame_index) for row in rows]
    if (scan_id, frame_index) not in order:
        return None, order[0] if order else None
    at = order.index((scan_id, frame_index))
    return order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None


AUDIT = Filters(reason=ReviewReason.AUDIT_SAMPLE)


def _item(row: Mapping[Any, Any], *, is_audit: bool) -> WorklistItem:
    hidden = {"predicted_class": None, "confidence": None, "model_name": None, "reasons": ()}
    shown = dict(row) | {"reasons": tuple(row["reasons"])} | (hidden if is_audit else {})
    return WorklistItem(**{name: shown[name] for name in WorklistItem.__dataclass_fields__})


_FRAMES_PER_SCAN = 4
_NEIGHBORS = 200
_OWN_REVIEWS = """
    cross join lateral (
        select
            coalesce(bool_or(reviewer = :person), false) as is_own,
            coalesce(bool_or(reviewer = :person and current_review.frame_index = frame.frame_index), false)
                as is_own_frame,
            coalesce(bool_or(finding <> 'cannot_tell'), false) as is_named
        from current_review
        where current_review.scan_id = frame.scan_id
    ) as own_review"""
_IS_WAITING = "case when frame.is_conflict then not is_own_frame else not (is_own or is_named) end"
_COLUMNS = """
    scan_id, frame_index, predicted_class::text as predicted_class, confidence,
    array_remove(review_reasons, 'audit_sample') as reasons, model_name, scored_at"""
_RISKIEST = f"""
    with read as materialized (
        select *
        from worklist_page(
            :limit, of_night => :day, of_class => :class, of_model => :model, of_reason => :reason)
    ),
    waiting as (
        select distinct on (frame.scan_id) frame.*
        from read as frame
        {_OWN_REVIEWS}
        where {_IS_WAITING} and not exists (
            select from scan where scan.scan_id = frame.scan_id and audit_probability is not null)
        order by frame.scan_id, risk_rank, risk_rank_at_scoring, confidence, frame_index
    )
    select count_read, {_COLUMNS}
    from (select count(*) as count_read from read) as extent
    left join waiting on true
    order by risk_rank, risk_rank_at_scoring, confidence, scan_id"""
"""Selects the riskiest frame of each waiting scan. If no scan waits, one row has only the number of read frames."""
_AUDIT = f"""
    select {_COLUMNS}
    from (select scan_id as audited_id from scan where audit_probability is not null) as scan
    cross join lateral (
        select *
        from review_worklist
        where scan_id = audited_id
          and (cast(:day as date) is null or (scored_at at time zone 'utc')::date = :day)
          and (cast(:model as text) is null or model_name = :model)
        order by is_conflict desc, md5(scan_id || '/' || frame_index)
        limit 1
    ) as frame
    {_OWN_REVIEWS}
    where {_IS_WAITING}
    order by audited_id desc
    limit :count"""
"""Selects one frame per waiting scan of the audit sample, the newest scans first, for any predicted class.

A stable random order chooses the frame of a scan. A frame with different findings comes first.
"""
_DAYS = """
    with recursive scored as (
        (select (scored_at at time zone 'utc')::date as day from prediction order by day desc limit 1)
        union all
        select (
            select (scored_at at time zone 'utc')::date as earlier
            from prediction
            where (scored_at at time zone 'utc')::date < scored.day
            order by earlier desc
            limit 1)
        from scored
        where day is not null
    )
    select day from scored where day is not null"""
"""Selects the days with one index access per day, because ``distinct`` would read all predictions."""
_MODELS = """
    select model_name
    from model_version
    where exists (select from scoring_run where scoring_run.model_version_id = model_version.model_version_id)
    order by model_name"""
