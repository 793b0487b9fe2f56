"""Compute the statistics of a run.

They are arrivals, predictions, review reasons, rejections, stages, drift, subgroups and live accuracy. No statistic
contains an object key.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.live_accuracy.figures import LiveFigure, estimate_figures
from braintumor.live_accuracy.monitor import read_drop_evidence
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.run_report.drift import Drift, measure_drift
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.subgroups import Deviation, find_deviations

_DAYS = 7
_MIN_DAYS = 5


@dataclass(frozen=True, kw_only=True)
class RunStatistics:
    """Hold the statistics of one run.

    Attributes:
        planned: number of listed objects by kind, such as ``new``.
        count_arrived: number of new and changed objects on the day of the run.
        count_expected: median of the arrivals on earlier days. It is ``None`` if there are too few days.
        is_quiet_weekday: whether nothing arrived on the same weekday of the week before.
        classes: number of frames by predicted class.
        share_unclear: share of the frames whose prediction set is empty or has several classes, 0 to 1. ``None``
            without prediction sets.
        review_reasons: number of frames by review reason.
        rejections: number of scans by rejection reason.
        stage_seconds: seconds by stage of the work, as sums over chunks.
        deviations: subgroups that deviate. It is ``None`` if no subgroup has enough patients.
        live_figures: figures of the live accuracy of the run's model.
        drop_evidence: evidence of this year that the live accuracy is too low. It is ``None`` without audited scans.
    """

    planned: dict[str, int]
    count_arrived: int
    count_expected: float | None
    is_quiet_weekday: bool
    classes: dict[str, int]
    median_confidence: float | None
    share_unclear: float | None
    review_reasons: dict[str, int]
    rejections: dict[str, int]
    stage_seconds: dict[str, float]
    drifts: tuple[Drift, ...]
    deviations: list[Deviation] | None
    live_figures: tuple[LiveFigure, ...]
    drop_evidence: float | None

    @property
    def slowest_stage(self) -> str | None:
        """Return the stage with the most seconds, or ``None`` if no stage was measured."""
        return max(self.stage_seconds, key=lambda stage: self.stage_seconds[stage]) if self.stage_seconds else None


def run_statistics(engine: Engine, run: ScoringRun, *, rules: RunReportRules, timezone: str = "UTC") -> RunStatistics:
    """Compute the statistics of one run. Arrivals are counted by days in ``timezone``."""
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
            planned=_counts(connection, statement("scoring/report_planned"), values),
            count_arrived=arrived,
            count_expected=expected,
            is_quiet_weekday=is_quiet,
            classes=_counts(connection, text(_CLASSES), values),
            median_confidence=confidence.median_confidence,
            share_unclear=confidence.share_unclear,
            review_reasons=_counts(connection, text(_REASONS), values),
            rejections=_counts(connection, text(_REJECTIONS), values),
            stage_seconds=_counts(connection, text(_STAGES), values),
            drifts=tuple(
                measure_drift(connection, values, bound=rules.amber_drift, minimum_frames=rules.minimum_drift_frames)
            ),
            deviations=find_deviations(connection, values, rules),
            live_figures=tuple(estimate_figures(connection, run.model.model_version_id)),
            drop_evidence=read_drop_evidence(connection, run.model.model_version_id, drop=rules.amber_accuracy_drop),
        )


def _arrivals(connection: Connection, values: dict[str, Any]) -> tuple[int, float | None, bool]:
    """Return the arrivals on the run's day, their expected number, and whether nothing arrived a week earlier."""
    days = connection.execute(statement("scoring/report_arrivals"), values).all()
    today = next((row.count_new for row in days if row.days_ago == 0), 0)
    before = [row for row in days if row.days_ago > 0]
    last = [row.count_new for row in before[:_DAYS]]
    expected = float(median(last)) if len(last) >= _MIN_DAYS else None
    return today, expected, any(row.days_ago == _DAYS and row.count_new == 0 for row in before)


def _counts(connection: Connection, sql: TextClause, values: dict[str, Any]) -> dict[str, Any]:
    return {row.name: row.amount for row in connection.execute(sql, values)}


_CONFIDENCE = """
    select
        percentile_cont(0.5) within group (order by confidence) as median_confidence,
        avg((cardinality(prediction_set) <> 1)::integer)::double precision as share_unclear
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
