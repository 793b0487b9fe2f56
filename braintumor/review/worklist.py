"""The worklist: scans that wait for a person, the riskiest first, and the audit sample apart from them.

Of the frames of one scan only the riskiest waits: a volume of sixty slices would bury everything else, and its other
slices are one key away. The scan leaves the worklist once a person has named a finding of any of its frames, and not
before, whatever the model named. A frame that people see differently is back for a third one.
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
    """Which part of the worklist: ``None`` is all of it."""

    night: date | None = None
    predicted_class: TumorClass | None = None
    model: str | None = None
    reason: ReviewReason | None = None

    @property
    def is_audit(self) -> bool:
        """The audit sample is a list of its own, which shows no opinion."""
        return self.reason is ReviewReason.AUDIT_SAMPLE


@dataclass(frozen=True, kw_only=True)
class WorklistItem:
    """A frame that waits for a person. In the audit sample the model's opinion stays ``None``."""

    scan_id: int
    frame_index: int
    predicted_class: str | None
    confidence: float | None
    reasons: tuple[str, ...]
    model_name: str | None
    scored_at: datetime


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be filtered by: what there is among what waits."""

    nights: Sequence[date]
    models: Sequence[str]


def list_worklist(engine: Engine, filters: Filters, *, person: str, count: int = PAGE_SIZE) -> list[WorklistItem]:
    """The first ``count`` scans that wait for the person, or all if they are fewer."""
    with transaction(engine) as connection:
        rows = first_on_worklist(connection, filters, person=person, count=count)
    return [_waiting(row._mapping, is_audit=filters.is_audit) for row in rows]


def first_on_worklist(connection: Connection, filters: Filters, *, person: str, count: int) -> Sequence[Row[Any]]:
    """The first ``count`` rows of what waits, one a scan, in order.

    Reads the worklist from its beginning only as far as it must: frames of one scan, and those that the person has
    answered, make it read on.
    """
    values = {
        "person": person,
        "night": filters.night,
        "class": filters.predicted_class,
        "model": filters.model,
        "reason": filters.reason,
        "count": count,
    }
    if filters.is_audit:
        return connection.execute(text(_AUDIT), values).all()
    reach = _FRAMES_A_SCAN * count
    while True:
        found = connection.execute(text(_RISKIEST), {**values, "reach": reach}).all()
        is_whole = not found or found[0].count_read < reach
        rows = [row for row in found if row.scan_id is not None][:count]
        if is_whole or len(rows) == count:
            return rows
        reach *= 8


def list_choices(engine: Engine) -> Choices:
    """The days (UTC) with answers, newest first, and the models that were asked."""
    with transaction(engine) as connection:
        nights = connection.scalars(text(_NIGHTS)).all()
        models = connection.scalars(text(_MODELS)).all()
    return Choices(nights=nights, models=models)


def neighbors(
    connection: Connection, filters: Filters, *, person: str, scan_id: int, frame_index: int
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The frames that wait before and after one, in the worklist's order; of one that waits no more, the first."""
    rows = first_on_worklist(connection, filters, person=person, count=_NEIGHBORS)
    order = [(row.scan_id, row.frame_index) for row in rows]
    if (scan_id, frame_index) not in order:
        return None, order[0] if order else None
    at = order.index((scan_id, frame_index))
    return order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None


AUDIT = Filters(reason=ReviewReason.AUDIT_SAMPLE)


def _waiting(row: Mapping[Any, Any], *, is_audit: bool) -> WorklistItem:
    opinion = {"predicted_class": None, "confidence": None, "model_name": None, "reasons": ()}
    shown = dict(row) | {"reasons": tuple(row["reasons"])} | (opinion if is_audit else {})
    return WorklistItem(**{name: shown[name] for name in WorklistItem.__dataclass_fields__})


_FRAMES_A_SCAN = 4
_NEIGHBORS = 200
_HEARD = """
    cross join lateral (
        select
            coalesce(bool_or(reviewer = :person), false) as is_own,
            coalesce(bool_or(reviewer = :person and current_review.frame_index = frame.frame_index), false)
                as is_own_frame,
            coalesce(bool_or(finding <> 'cannot_tell'), false) as is_named
        from current_review
        where current_review.scan_id = frame.scan_id
    ) as heard"""
_IS_WAITING = "case when frame.is_conflict then not is_own_frame else not (is_own or is_named) end"
_COLUMNS = """
    scan_id, frame_index, predicted_class::text as predicted_class, confidence,
    array_remove(review_reasons, 'audit_sample') as reasons, model_name, scored_at"""
_RISKIEST = f"""
    with read as materialized (
        select *
        from worklist_page(
            :reach, of_night => :night, of_class => :class, of_model => :model, of_reason => :reason)
    ),
    waiting as (
        select distinct on (frame.scan_id) frame.*
        from read as frame
        {_HEARD}
        where {_IS_WAITING} and not exists (
            select from scan where scan.scan_id = frame.scan_id and audit_probability is not null)
        order by frame.scan_id, risk_rank, risk_rank_at_scoring, confidence, frame_index
    )
    select count_read, {_COLUMNS}
    from (select count(*) as count_read from read) as extent
    left join waiting on true
    order by risk_rank, risk_rank_at_scoring, confidence, scan_id"""
"""One row per scan that waits, its riskiest frame; without any, one row that says how many frames were read."""
_AUDIT = f"""
    select {_COLUMNS}
    from (select scan_id as audited_id from scan where audit_probability is not null) as scan
    cross join lateral (
        select *
        from review_worklist
        where scan_id = audited_id
          and (cast(:night as date) is null or (scored_at at time zone 'utc')::date = :night)
          and (cast(:model as text) is null or model_name = :model)
        order by is_conflict desc, md5(scan_id || '/' || frame_index)
        limit 1
    ) as frame
    {_HEARD}
    where {_IS_WAITING}
    order by audited_id desc
    limit :count"""
"""One row per scan that waits, a frame by chance, the same each time; the newest first, whatever the answer."""
_NIGHTS = """
    with recursive day as (
        (select (scored_at at time zone 'utc')::date as night from prediction order by night desc limit 1)
        union all
        select (
            select (scored_at at time zone 'utc')::date as earlier
            from prediction
            where (scored_at at time zone 'utc')::date < day.night
            order by earlier desc
            limit 1)
        from day
        where night is not null
    )
    select night from day where night is not null"""
"""One step of the index a day, where ``distinct`` would read every answer."""
_MODELS = """
    select model_name
    from model_version
    where exists (select from scoring_run where scoring_run.model_version_id = model_version.model_version_id)
    order by model_name"""
