"""Assess a run as green, amber or red, and store its status.

Arrivals are counted by days in the timezone of the schedule, and a day includes all its runs so far. In UTC, two
nightly runs at 01:00 in Berlin would be on one day when summer time begins. The arrivals of the first run would then
hide that nothing arrived for the second run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import RedRunError
from braintumor.live_accuracy.figures import PERIOD_DAYS, store_figures
from braintumor.live_accuracy.monitor import ALARM
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.statistics import RunStatistics, run_statistics
from braintumor.scoring.run_report.subgroups import LEAST_PATIENTS
from braintumor.serving.prediction import ReviewReason

RUNBOOK = "docs/runbook.md"
"""Path of the runbook, which has one section for each alert, with the name of the alert."""

_GIB = 1 << 30


class Alert(StrEnum):
    """Name the kinds of reasons why a run is amber or red. Each kind has a section in the runbook."""

    DOES_NOT_BALANCE = "does_not_balance"
    NOTHING_ARRIVED = "nothing_arrived"
    ARRIVALS_UNUSUAL = "arrivals_unusual"
    REJECTIONS_HIGH = "rejections_high"
    TWO_PATIENTS = "two_patients"
    SCANS_WAIT = "scans_wait"
    DRIFT = "drift"
    SUBGROUP_DEVIATES = "subgroup_deviates"
    ACCURACY_LOW = "accuracy_low"
    DISK_LOW = "disk_low"


class Level(StrEnum):
    """Name the levels of a run. A run that is red fails its DAG run."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Reason(NamedTuple):
    """Hold a reason why a run is amber or red. ``message`` says in a sentence what was found."""

    level: Level
    alert: Alert
    message: str

    @property
    def section(self) -> str:
        """Return the section of the runbook with the instructions."""
        return f"{RUNBOOK}#{self.alert}"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Hold the status of a run, with the reasons why it is amber or red."""

    run: ScoringRun
    balance: Balance
    statistics: RunStatistics
    reasons: tuple[Reason, ...]

    @property
    def level(self) -> Level:
        """Return the most severe level among the reasons, or green if there are no reasons."""
        levels = {reason.level for reason in self.reasons}
        return next((level for level in (Level.RED, Level.AMBER) if level in levels), Level.GREEN)

    def require_not_red(self) -> None:
        """Raise ``RedRunError`` if the run is red. The run's rows are already committed."""
        if self.level is Level.RED:
            red = [reason for reason in self.reasons if reason.level is Level.RED]
            raise RedRunError(
                f"Run {self.run.scoring_run_id} is red: {' '.join(reason.message for reason in red)} Its rows are "
                f"committed. What to do: {', '.join(reason.section for reason in red)}."
            )


def make_run_status(
    engine: Engine, run: ScoringRun, balance: Balance, rules: RunReportRules, *, settings: Settings, failure: str = ""
) -> RunStatus:
    """Assess a run from its rows, and store its status. ``failure`` is the message if reconciliation failed."""
    statistics = run_statistics(engine, run, rules=rules, timezone=settings.require("timezone"))
    reasons = _reasons(balance, statistics, rules, failure) + _disk_reasons(settings.require("cache_folder"), rules)
    status = RunStatus(run=run, balance=balance, statistics=statistics, reasons=tuple(reasons))
    _record(engine, status)
    return status


def facts(status: RunStatus) -> list[tuple[str, str]]:
    """Return the statistics as pairs of name and text, in the order of the report."""
    f = status.statistics
    lines = [
        ("Model", status.run.model.model_name),
        ("Planned", ", ".join(f"{count} {kind}" for kind, count in f.planned.items()) or "unknown"),
        ("Arrived", _arrived(f)),
        ("Class mix (frames)", _counted(f.classes)),
        ("Review reasons (frames)", _counted(f.review_reasons)),
        ("Rejections (scans)", _counted(f.rejections)),
    ]
    if f.median_confidence is not None:
        lines.append(("Confidence", f"median {f.median_confidence:.3f}"))
    if f.share_unclear is not None:
        lines.append(("Prediction sets", f"{f.share_unclear:.1%} empty or with several classes"))
    if f.slowest_stage is not None:
        lines.append(("Slowest stage", f"{f.slowest_stage}, {f.stage_seconds[f.slowest_stage]:.1f} s over all chunks"))
    lines.append(("Subgroups", _deviating(f)))
    lines += [
        (f"Live accuracy, {figure.name} ({PERIOD_DAYS} days)", f"{figure}; {figure.counts}")
        for figure in f.live_figures
        if figure.label is None
    ]
    lines.append(("Evidence of a drop (this year)", _evidence(f)))
    lines += [(f"Drift from {drift.reference} (n={drift.count_reference})", str(drift)) for drift in f.drifts]
    return lines


def _reasons(balance: Balance, statistics: RunStatistics, rules: RunReportRules, failure: str) -> list[Reason]:
    reasons: list[Reason] = []
    if failure or not balance.is_balanced:
        reasons.append(Reason(Level.RED, Alert.DOES_NOT_BALANCE, failure or f"The run does not balance: {balance}."))
    reasons += _rejection_reasons(balance, rules) + _arrival_reasons(statistics, rules)
    if pairs := statistics.review_reasons.get(ReviewReason.SAME_CONTENT_OTHER_PATIENT):
        message = f"{pairs} scored frames show an image that has two patients."
        reasons.append(Reason(Level.AMBER, Alert.TWO_PATIENTS, message))
    if balance.count_deferred:
        reasons.append(Reason(Level.AMBER, Alert.SCANS_WAIT, f"{balance.count_deferred} scans wait for the next run."))
    reasons += [
        Reason(
            Level.AMBER, Alert.DRIFT, f"Predictions drift from {drift.reference}: stability index {drift.largest:.2f}."
        )
        for drift in statistics.drifts
        if drift.largest > rules.amber_drift
    ]
    if statistics.deviations:
        first, *others = statistics.deviations
        more = f" The table shows {len(others)} more." if others else ""
        reasons.append(Reason(Level.AMBER, Alert.SUBGROUP_DEVIATES, f"{first.sentence}{more}"))
    if (statistics.drop_evidence or 0) >= ALARM:
        message = f"Blind reviewers contradict predictions more often than on test. Evidence: {_evidence(statistics)}."
        reasons.append(Reason(Level.AMBER, Alert.ACCURACY_LOW, message))
    return reasons


def _rejection_reasons(balance: Balance, rules: RunReportRules) -> list[Reason]:
    rejected, processed = balance.count_rejected, balance.count_rejected + balance.count_scored
    share = rejected / processed if processed else 0.0
    message = f"{rejected} of {processed} scans were rejected ({share:.0%})."
    if share >= rules.red_rejection_share and rejected >= rules.red_rejection_count:
        return [Reason(Level.RED, Alert.REJECTIONS_HIGH, message)]
    return [Reason(Level.AMBER, Alert.REJECTIONS_HIGH, message)] if share >= rules.amber_rejection_share else []


def _arrival_reasons(statistics: RunStatistics, rules: RunReportRules) -> list[Reason]:
    expected = statistics.count_expected
    if not expected:
        return []
    message = f"{_arrived(statistics).capitalize()}."
    if not statistics.count_arrived:
        level = Level.AMBER if statistics.is_quiet_weekday else Level.RED
        return [Reason(level, Alert.NOTHING_ARRIVED, message)]
    ratio = statistics.count_arrived / expected
    is_usual = rules.amber_arrival_ratio <= ratio <= 1 / rules.amber_arrival_ratio
    return [] if is_usual else [Reason(Level.AMBER, Alert.ARRIVALS_UNUSUAL, message)]


def _disk_reasons(cache_folder: str, rules: RunReportRules) -> list[Reason]:
    """Return a reason if the disk of the model cache is almost full on this machine. Other workers are not checked."""
    folder = Path(cache_folder).expanduser()
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if existing is None:
        return []
    free = disk_usage(existing).free
    if free >= rules.amber_free_disk_gib * _GIB:
        return []
    message = f"{free / _GIB:.1f} GiB are free on the disk of this worker's model cache."
    return [Reason(Level.AMBER, Alert.DISK_LOW, message)]


def _arrived(statistics: RunStatistics) -> str:
    if statistics.count_expected is None:
        return f"got {statistics.count_arrived} (too few days to expect a number)"
    return f"expected about {statistics.count_expected:g}, got {statistics.count_arrived}"


def _deviating(statistics: RunStatistics) -> str:
    if statistics.deviations is None:
        return f"not assessed: fewer than {LEAST_PATIENTS} patients in each subgroup or in the others"
    return ", ".join(f"{each.name} deviates" for each in statistics.deviations) or "none deviates"


def _evidence(statistics: RunStatistics) -> str:
    if statistics.drop_evidence is None:
        return "not assessed: no audited scan is settled"
    return f"{statistics.drop_evidence:.1f} (alarm at {ALARM})"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _record(engine: Engine, status: RunStatus) -> None:
    with transaction(engine) as connection:
        connection.execute(
            statement("scoring/record_summary"),
            {
                "run": status.run.scoring_run_id,
                "level": status.level,
                "arrived": status.statistics.count_arrived,
                "expected": status.statistics.count_expected,
                "reasons": [reason.message for reason in status.reasons],
                "drift": json.dumps([asdict(drift) for drift in status.statistics.drifts]),
                "evidence": status.statistics.drop_evidence,
            },
        )
        store_figures(connection, status.run.scoring_run_id, status.statistics.live_figures)
