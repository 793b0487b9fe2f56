"""Read the numbers of the dashboard: runs, predictions and agreement, each with a bounded number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.evaluation.metrics.classification import wilson_interval

RUNS, WEEKS, MONTHS = 30, 12, 12


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Count how often reviewers agree with the predicted class, in a sample or a month: ``count_same`` of ``count``."""

    name: str
    count: int
    count_same: int

    @property
    def share(self) -> float:
        """Return the share of reviews that agree, from 0 to 1. It is 0 without reviews."""
        return self.count_same / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the lower and the upper bound of the share's 95% confidence interval (Wilson)."""
        return wilson_interval(self.count_same, self.count)


@dataclass(frozen=True, kw_only=True)
class DriftPoint:
    """Hold the drift of a run: the larger stability index of class and confidence.

    ``place`` is its position, from 0.
    """

    place: int
    day: date
    reference: str
    index: float

    @property
    def is_of_test(self) -> bool:
        """Check that the reference is the model's test split. Otherwise the reference is recent runs."""
        return "test split" in self.reference


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Hold the numbers of the dashboard. Runs, weeks and months are oldest first, ``champions`` newest first.

    ``agreements`` are those in the audit sample and on the worklist, ``months`` those in the blind audit sample.
    ``audit`` has the numbers of scans ``count_drawn``, ``count_read`` and ``count_settled``.
    """

    runs: Sequence[Any]
    drifts: Sequence[DriftPoint]
    weeks: Sequence[Any]
    agreements: Sequence[Agreement]
    months: Sequence[Agreement]
    audit: Any
    champions: Sequence[Any]


def load_dashboard(engine: Engine) -> Dashboard:
    """Return the numbers of the dashboard."""
    with transaction(engine) as connection:
        runs = connection.execute(statement("review/dashboard_runs"), {"limit": RUNS}).all()
        weeks = connection.execute(statement("review/dashboard_weeks"), {"weeks": WEEKS}).all()
        agreements = connection.execute(statement("review/dashboard_agreement")).all()
        months = connection.execute(statement("review/dashboard_months"), {"months": MONTHS}).all()
        audit = connection.execute(text(_AUDIT)).one()
        champions = connection.execute(text(_CHAMPIONS)).all()
    return Dashboard(
        runs=runs[::-1],
        drifts=_drifts(runs[::-1]),
        weeks=weeks,
        agreements=[_agreement(row) for row in agreements],
        months=[_agreement(row) for row in months],
        audit=audit,
        champions=champions,
    )


def _drifts(runs: Sequence[Any]) -> list[DriftPoint]:
    points = []
    for place, run in enumerate(runs):
        for drift in run.drift:
            indices = [index for index in (drift["of_class"], drift["of_confidence"]) if index is not None]
            if indices:
                points.append(DriftPoint(place=place, day=run.day, reference=drift["reference"], index=max(indices)))
    return points


def _agreement(row: Any) -> Agreement:
    return Agreement(name=row.name, count=row.count_answer, count_same=row.count_same)


_AUDIT = """
    select
        coalesce(sum(count_drawn), 0)::integer as count_drawn,
        coalesce(sum(count_read), 0)::integer as count_read,
        coalesce(sum(count_settled), 0)::integer as count_settled
    from audit_progress"""
_CHAMPIONS = """
    select model_name, action::text as action, actor, promoted_at
    from promotion
    join model_version using (model_version_id)
    order by promotion_id desc
    limit 10"""
