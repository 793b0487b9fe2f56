"""Compute the statistics of a run: arrivals, predictions, rejections, stages, drift. They have no object keys."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.run_report.drift import Drift, measure_drift
from braintumor.scoring.run_report.rules import RunReportRules

_DAYS = 7
_MIN_DAYS = 5


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """The statistics of one run.

    Predictions count frames, rejections count scans. ``stage_seconds`` are sums over chunks.
    """

    planned: dict[str, int]
    count_arrived: int
    count_expected: float | None
    is_quiet_weekday: bool
    classes: dict[str, int]
    median_confidence: float | None
    share_low: float | None
    review_reasons: dict[str, int]
    rejections: dict[str, int]
    stage_seconds: dict[str, float]
    drifts: tuple[Drift, ...]

    @property
    def slowest_stage(self) -> str | None:
        """Return the stage with the most seconds."""
        return max(self.stage_seconds, key=lambda stage: self.stage_seconds[stage]) if self.stage_seconds else None


def run_statistics(engine: Engine, run: ScoringRun, *, rules: RunReportRules, timezone: str = "UTC") -> RunStatistics:
    """Compute the statistics of one run. Drift is assessed if there are enough predictions for the bounds in ``rules``.

    Arrivals are counted by days in ``timezone``.
    """
    values = {
        "run": run.scoring_run_id,
        "uri": str(run.scans),
        "model": run.model.model_version_id,
        "timezone": timezone,
    }
    with transaction(engine) as connection:
        arrived, expected, is_quiet = _arrivals(connection, values)
        confidence = connection.execute(text(_CONFIDENCE), values).one()
        return RunStatistics(
            planned=_counts(connection, _PLANNED, values),
            count_arrived=arrived,
            count_expected=expected,
            is_quiet_weekday=is_quiet,
            classes=_counts(connection, _CLASSES, values),
            median_confidence=confidence.median_confidence,
            share_low=confidence.share_low,
            review_reasons=_counts(connection, _REASONS, values),
            rejections=_counts(connection, _REJECTIONS, values),
            stage_seconds=_counts(connection, _STAGES, values),
            drifts=tuple(
                measure_drift(connection, values, bound=rules.amber_drift, minimum_frames=rules.minimum_drift_frames)
            ),
        )


def _arrivals(connection: Connection, values: dict[str, Any]) -> tuple[int, float | None, bool]:
    """Return the arrivals of the run's day, the expected number, and whether the day a week ago had none."""
    days = connection.execute(text(_ARRIVALS), values).all()
    today = next((row.count_new for row in days if row.days_ago == 0), 0)
    before = [row for row in days if row.days_ago > 0]
    last = [row.count_new for row in before[:_DAYS]]
    expected = float(median(last)) if len(last) >= _MIN_DAYS else None
    return today, expected, any(row.days_ago == _DAYS and row.count_new == 0 for row in before)


def _counts(connection: Connection, sql: str, values: dict[str, Any]) -> dict[str, Any]:
    return {row.name: row.amount for row in connection.execute(text(sql), values)}


_PLANNED = """
    select kind.name, kind.amount
    from scoring_run
    cross join lateral (
        values (1, 'new', count_new), (2, 'changed', count_changed), (3, 'ignored', count_unsupported),
               (4, 'retried', count_retried),
               (5, 'unusable keys', nullif(count_unusable_key, 0))) as kind (place, name, amount)
    where scoring_run_id = :run and kind.amount is not null
    order by place"""

_ARRIVALS = """
    select
        (judged.started_at at time zone :timezone)::date
            - (earlier.started_at at time zone :timezone)::date as days_ago,
        sum(coalesce(earlier.count_new, 0) + coalesce(earlier.count_changed, 0))::integer as count_new
    from scoring_run as judged
    join scoring_run as earlier
        on earlier.scans_uri = judged.scans_uri
        and earlier.kind = 'night'
        and earlier.listed_at is not null
        and earlier.scoring_run_id <= judged.scoring_run_id
    where judged.scoring_run_id = :run
    group by days_ago
    order by days_ago
    limit 8"""

_CONFIDENCE = """
    select
        percentile_cont(0.5) within group (order by confidence) as median_confidence,
        avg(('low_confidence' = any(review_reasons))::integer)::double precision as share_low
    from prediction
    where scoring_run_id = :run"""

_CLASSES = """
    select predicted_class::text as name, count(*) as amount
    from prediction where scoring_run_id = :run group by predicted_class order by predicted_class"""

_REASONS = """
    select reason as name, count(*) as amount
    from prediction
    cross join unnest(
        review_reasons || case
            when exists (select from cross_patient_duplicate_pair as pair where pair.scan_id = prediction.scan_id)
            then array['same_content_other_patient'] else '{}' end) as reason
    where scoring_run_id = :run group by reason order by amount desc, reason"""

_REJECTIONS = """
    select reason as name, count(*) as amount
    from rejection where scoring_run_id = :run group by reason order by amount desc, reason"""

_STAGES = """
    select stage.key as name, sum(stage.value::double precision) as amount
    from scoring_chunk cross join jsonb_each_text(stage_seconds) as stage
    where scoring_run_id = :run group by stage.key order by stage.key"""
