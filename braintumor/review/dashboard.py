"""Read the numbers of the dashboard: scoring runs, predictions, and the live accuracy.

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
from braintumor.live_accuracy.figures import LiveAccuracy, load_live_accuracy
from braintumor.live_accuracy.reading import ComparedStep, compare_steps

RUNS, WEEKS = 30, 12


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
    """Hold the numbers of the dashboard. Runs and weeks are oldest first, ``champions`` newest first.

    ``live`` has the figures of the live accuracy. It is ``None`` before the first run. ``reading`` has the missed
    tumors of its model by threshold: observed, and predicted by the test split.
    """

    runs: Sequence[Any]
    drifts: Sequence[DriftPoint]
    weeks: Sequence[Any]
    live: LiveAccuracy | None
    reading: Sequence[ComparedStep]
    champions: Sequence[Any]
    subgroups: Sequence[Any]


def load_dashboard(engine: Engine) -> Dashboard:
    """Return the numbers of the dashboard."""
    with transaction(engine) as connection:
        runs = connection.execute(statement("review/dashboard_runs"), {"limit": RUNS}).all()
        weeks = connection.execute(statement("review/dashboard_weeks"), {"weeks": WEEKS}).all()
        live = load_live_accuracy(connection)
        reading = compare_steps(connection, live.model_name) if live else []
        champions = connection.execute(text(_CHAMPIONS)).all()
        subgroups = connection.execute(text(_SUBGROUPS)).all()
    return Dashboard(
        runs=runs[::-1],
        drifts=_drifts(runs[::-1]),
        weeks=weeks,
        live=live,
        reading=reading,
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


_SUBGROUPS = "select * from subgroup_summary order by attribute, count_scan desc, subgroup limit 200"
_CHAMPIONS = """
    select model_name, action::text as action, actor, promoted_at
    from promotion
    join model_version using (model_version_id)
    order by promotion_id desc
    limit 10"""
