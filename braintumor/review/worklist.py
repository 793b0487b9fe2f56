"""List the scans that wait for a review, the riskiest first, and separately the scans of the audit sample.

The audit sample is a random sample of scans, for which reviewers do not see the prediction. Each scan has one row, its
riskiest frame, because a volume of sixty slices would hide other scans. A scan leaves the worklist when a reviewer has
judged one of its frames, with a finding other than ``cannot_tell`` and ``unusable_image``. If two reviewers give
different findings for a frame, the frame returns for a third reviewer. Other tabs list the reviewed frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.labels import TumorClass
from braintumor.serving.prediction import ReviewReason

PAGE_SIZE = 50
_MAX_COUNTED = 5000
"""Largest number of frames that are read to count scans by reason."""


class Tab(StrEnum):
    """List the tabs of the worklist.

    ``WAITING`` has the scans that wait for the person. ``CONFLICT`` has the frames on which reviewers disagree.
    ``SECOND`` has the frames for which one other reviewer has named a class. ``MINE`` has the frames that the person
    has reviewed, and ``ANSWERED`` those with a finding of the reviewers.
    """

    WAITING = "waiting"
    CONFLICT = "conflict"
    SECOND = "second"
    MINE = "mine"
    ANSWERED = "answered"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Hold the tab and the filters of the worklist. ``None`` means no filter. ``day`` is a date in UTC.

    ``tumor`` is the lowest tumor probability, 0 to 1: 1 minus the probability of ``normal``. The filters apply to the
    tab ``WAITING`` only. The audit sample ignores ``predicted_class`` and ``tumor``, because they show the prediction.
    """

    tab: Tab = Tab.WAITING
    day: date | None = None
    predicted_class: TumorClass | None = None
    model: str | None = None
    reason: ReviewReason | None = None
    tumor: float | None = None

    def __post_init__(self) -> None:
        if self.tumor is not None and not 0 <= self.tumor <= 1:
            raise ValueError(f"tumor must be from 0 to 1. Received: {self.tumor}.")

    @property
    def is_audit(self) -> bool:
        """Return whether the filters select the audit sample, which hides the predictions."""
        return self.reason is ReviewReason.AUDIT_SAMPLE


@dataclass(frozen=True, kw_only=True)
class WorklistItem:
    """Hold a frame of the worklist.

    For the audit sample, class, confidence and model are ``None``, and set and reasons are empty, because they are
    hidden. The set is also empty if the model has no prediction sets. ``slice`` counts the scored frames of the file
    from 1. It is 0 if there is only one. ``finding`` is that of the reviewers, ``own_finding`` that of the person.
    Waiting frames have none.
    """

    scan_id: int
    frame_index: int
    predicted_class: str | None
    prediction_set: tuple[str, ...]
    confidence: float | None
    reasons: tuple[str, ...]
    model_name: str | None
    scored_at: datetime
    slice: int
    is_conflict: bool
    finding: str | None = None
    own_finding: str | None = None


@dataclass(frozen=True, kw_only=True)
class WaitingCounts:
    """Count the waiting scans, all of them and those of each review reason. ``count_conflict`` are in conflict.

    If ``is_complete`` is false, more scans wait than were counted.
    """

    count_scan: int
    by_reason: Mapping[ReviewReason, int]
    count_conflict: int
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Hold the days (UTC) and the names of models that the reviewer can select as filters."""

    days: Sequence[date]
    models: Sequence[str]


def list_worklist(engine: Engine, filters: Filters, *, person: str, count: int = PAGE_SIZE) -> list[WorklistItem]:
    """Return the first ``count`` items of a tab, or all of them if there are fewer."""
    with transaction(engine) as connection:
        rows = first_on_worklist(connection, filters, person=person, count=count)
    return [_item(row._mapping, is_audit=filters.is_audit) for row in rows]


def first_on_worklist(connection: Connection, filters: Filters, *, person: str, count: int) -> Sequence[Row[Any]]:
    """Return the first ``count`` items of a tab in its order. The tab ``WAITING`` has one row per scan.

    For this tab, the function reads a few frames for each of the ``count`` scans from the beginning of the worklist. It
    reads more only if these frames give too few scans. The cause is a scan with many frames, or many reviews by the
    person.
    """
    values = _values(filters, person) | {"count": count}
    if filters.tab is not Tab.WAITING:
        return connection.execute(statement("review/worklist_reviewed"), values | {"is_reviewer": True}).all()
    if filters.is_audit:
        return connection.execute(statement("review/worklist_audit"), values).all()
    limit = _FRAMES_PER_SCAN * count
    while True:
        frames = connection.execute(statement("review/worklist_riskiest"), {**values, "limit": limit}).all()
        is_complete = not frames or frames[0].count_read < limit
        rows = [row for row in frames if row.scan_id is not None][:count]
        if is_complete or len(rows) == count:
            return rows
        limit *= 8


def count_waiting(engine: Engine, filters: Filters, *, person: str) -> WaitingCounts:
    """Count the scans that wait for the person's review by reason, for any ``filters.reason``."""
    values = _values(filters, person) | {"limit": _MAX_COUNTED}
    with transaction(engine) as connection:
        rows = connection.execute(statement("review/worklist_counts"), values).all()
    counts = {row.reason: row.count_scan for row in rows}
    return WaitingCounts(
        count_scan=counts.get(None, 0),
        by_reason={reason: counts[reason] for reason in ReviewReason if reason in counts},
        count_conflict=counts.get("reviewers_disagree", 0),
        is_complete=rows[0].count_read < _MAX_COUNTED,
    )


def list_choices(engine: Engine) -> Choices:
    """Return the days with predictions, newest first, and the names of the models of scoring runs."""
    with transaction(engine) as connection:
        days = connection.scalars(statement("review/days_with_predictions")).all()
        models = connection.scalars(text(_MODELS)).all()
    return Choices(days=days, models=models)


def neighbors(
    connection: Connection, filters: Filters, *, person: str, scan_id: int, frame_index: int
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the waiting frames (scan ID, frame index) before and after a frame in the order of the worklist.

    At an end of the worklist, the missing frame is ``None``. If the frame is not among the first 200 waiting
    frames, the function returns ``None`` and the first waiting frame.
    """
    rows = first_on_worklist(connection, filters, person=person, count=_NEIGHBORS)
    order = [(row.scan_id, row.frame_index) for row in rows]
    if (scan_id, frame_index) not in order:
        return None, order[0] if order else None
    at = order.index((scan_id, frame_index))
    return order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None


AUDIT = Filters(reason=ReviewReason.AUDIT_SAMPLE)


def _values(filters: Filters, person: str) -> dict[str, object]:
    return {
        "person": person,
        "tab": filters.tab,
        "day": filters.day,
        "class": filters.predicted_class,
        "model": filters.model,
        "reason": filters.reason,
        "tumor": filters.tumor,
    }


def _item(row: Mapping[Any, Any], *, is_audit: bool) -> WorklistItem:
    hidden = {"predicted_class": None, "confidence": None, "model_name": None, "reasons": (), "prediction_set": ()}
    lists = {name: tuple(row[name] or ()) for name in ("reasons", "prediction_set")}
    shown = dict(row) | lists | (hidden if is_audit else {})
    return WorklistItem(**{name: shown[name] for name in WorklistItem.__dataclass_fields__ if name in shown})


_FRAMES_PER_SCAN = 4
_NEIGHBORS = 200
_MODELS = """
    select model_name
    from model_version
    where exists (select from scoring_run where scoring_run.model_version_id = model_version.model_version_id)
    order by model_name"""
