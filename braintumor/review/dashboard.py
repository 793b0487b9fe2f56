"""Read the numbers of the dashboard: scoring runs, predictions, and agreement of reviewers with the model.

Each query returns a limited number of rows.
"""

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
    """Count the frames on which reviewers agree with the predicted class, in the sample or month ``name``.

    Reviewers agree on ``count_same`` of ``count`` frames.
    """

    name: str
    count: int
    count_same: int

    @property
    def share(self) -> float:
        """Return the share of frames on which reviewers agree, from 0 to 1. It is 0 if ``count`` is 0."""
        return self.count_same / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the lower and the upper bound of the share's 95% confidence interval (Wilson), for ``count`` > 0."""
        return wilson_interval(self.count_same, self.count)


@dataclass(frozen=True, kw_only=True)
class DriftPoint:
    """Hold the drift of one scoring run against a reference.

    ``index`` is the larger of two population stability indices, that of the class and that of the confidence.
    ``reference`` describes the reference predictions. ``place`` is the run's position among the runs, from 0.
    """

    place: int
    day: date
    reference: str
    index: float

    @property
    def is_of_test(self) -> bool:
        """Return whether predictions are compared with the model's test split, instead of with recent scoring runs."""
        return "test split" in self.reference


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Hold the numbers of the dashboard. Runs, weeks and months are oldest first, ``champions`` newest first.

    ``agreements`` has one entry for the audit sample and one for the worklist. ``months`` has one entry per month, for
    the audit sample only. ``audit`` counts the scans of the audit sample. ``count_drawn`` counts all of them,
    ``count_read`` those with a blind review, and ``count_settled`` those whose blind reviews give a finding.
    """

    runs: Sequence[Any]
    drifts: Sequence[DriftPoint]
    weeks: Sequence[Any]
    agreements: Sequence[Agreement]
    months: Sequence[Agreement]
    audit: Any
    champions: Sequence[Any]
    subgroups: Sequence[Any]


def load_dashboard(engine: Engine) -> Dashboard:
    """Return the numbers of the dashboard."""
    with transaction(engine) as connection:
        runs = connection.execute(statement("review/dashboard_runs"), {"limit": RUNS}).all()
        weeks = connection.execute(statement("review/dashboard_weeks"), {"weeks": WEEKS}).all()
        agreements = connection.execute(statement("review/dashboard_agreement")).all()
        months = connection.execute(statement("review/dashboard_months"), {"months": MONTHS}).all()
        audit = connection.execute(text(_AUDIT)).one()
        champions = connection.execute(text(_CHAMPIONS)).all()
        subgroups = connection.execute(text(_SUBGROUPS)).all()
    return Dashboard(
        runs=runs[::-1],
        drifts=_drifts(runs[::-1]),
        weeks=weeks,
        agreements=[_agreement(row) for row in agreements],
        months=[_agreement(row) for row in months],
        audit=audit,
        champions=champions,
        subgroups=subgroups,
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
_SUBGROUPS = "select * from subgroup_summary order by attribute, count_scan desc, subgroup limit 200"
_CHAMPIONS = """
    select model_name, action::text as action, actor, promoted_at
    from promotion
    join model_version using (model_version_id)
    order by promotion_id desc
    limit 10"""
