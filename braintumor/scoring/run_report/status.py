"""The operator's morning: how a night went, green, amber or red, on one sheet and in one row.

Days are those of the schedule's timezone, and the arrivals of a day are those of all its runs so far: a second run on
the same day that finds nothing new is no sign that nothing arrived. In UTC the nights of 01:00 in Berlin would fall
twice on one day when summer time begins, and the second could hide that nothing arrived.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

from jinja2 import Environment
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.errors import RedRunError
from braintumor.reports.jinja import page_environment
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.statistics import RunStatistics, run_statistics
from braintumor.serving.prediction import ReviewReason

RUNBOOK = "docs/runbook.md"
"""Where each alert has a section of its own name."""

_GIB = 1 << 30


class Alert(StrEnum):
    """What a morning sheet can say besides that all is well."""

    DOES_NOT_BALANCE = "does_not_balance"
    NOTHING_ARRIVED = "nothing_arrived"
    ARRIVALS_UNUSUAL = "arrivals_unusual"
    REJECTIONS_HIGH = "rejections_high"
    TWO_PATIENTS = "two_patients"
    SCANS_WAIT = "scans_wait"
    DRIFT = "drift"
    DISK_LOW = "disk_low"


class Level(StrEnum):
    """How a night went."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


class Reason(NamedTuple):
    """Why a night is not green."""

    level: Level
    alert: Alert
    words: str

    @property
    def section(self) -> str:
        """Where the runbook says what to do."""
        return f"{RUNBOOK}#{self.alert}"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What the morning sheet says."""

    run: ScoringRun
    balance: Balance
    figures: RunStatistics
    reasons: tuple[Reason, ...]

    @property
    def level(self) -> Level:
        """The worst level of a reason."""
        levels = {reason.level for reason in self.reasons}
        return next((level for level in (Level.RED, Level.AMBER) if level in levels), Level.GREEN)

    def require_not_red(self) -> None:
        """Fail a red night; its rows are committed.

        Raises:
            RedRunError: with the reasons.
        """
        if self.level is Level.RED:
            red = [reason for reason in self.reasons if reason.level is Level.RED]
            raise RedRunError(
                f"Night {self.run.scoring_run_id} is red: {' '.join(reason.words for reason in red)} Its rows are "
                f"committed. What to do: {', '.join(reason.section for reason in red)}."
            )


def make_run_status(
    engine: Engine, run: ScoringRun, balance: Balance, rules: RunReportRules, *, settings: Settings, failure: str = ""
) -> RunStatus:
    """Judge a night from its rows, and record the judgment; ``failure`` is what reconciliation refused it for.

    The settings give the timezone of the days and the folder whose disk is looked at, which is this machine's.
    """
    figures = run_statistics(engine, run, rules=rules, timezone=settings.require("timezone"))
    reasons = _reasons(balance, figures, rules, failure) + _disk_reasons(settings.require("cache_folder"), rules)
    sheet = RunStatus(run=run, balance=balance, figures=figures, reasons=tuple(reasons))
    _record(engine, sheet)
    return sheet


def to_markdown(sheet: RunStatus, *, address: str = "") -> str:
    """What the task's log says, with a link to the page."""
    lines = [f"### Night {sheet.run.scoring_run_id}: {sheet.level.upper()}", "", f"{sheet.balance}.", ""]
    lines += [f"- **{reason.level}**: {reason.words} What to do: {reason.section}" for reason in sheet.reasons]
    lines += ["", *(f"- {name}: {value}" for name, value in facts(sheet)), ""]
    return "\n".join([*lines, f"[The morning sheet]({address})", ""] if address else lines)


def run_status_page(sheet: RunStatus) -> str:
    """The whole page."""
    return _environment().get_template("morning.html").render(sheet=sheet, facts=facts(sheet))


def facts(sheet: RunStatus) -> list[tuple[str, str]]:
    """The figures in words, in the order in which they are read."""
    f = sheet.figures
    found = [
        ("Model", sheet.run.model.model_name),
        ("Planned", ", ".join(f"{count} {kind}" for kind, count in f.planned.items()) or "not on record"),
        ("Arrived", _arrived(f)),
        ("Class mix (frames)", _counted(f.classes)),
        ("Review reasons (frames)", _counted(f.review_reasons)),
        ("Rejections (scans)", _counted(f.rejections)),
    ]
    if f.median_confidence is not None and f.share_low is not None:
        found.append(("Confidence", f"median {f.median_confidence:.3f}, {f.share_low:.1%} low"))
    if f.slowest_stage is not None:
        found.append(("Slowest stage", f"{f.slowest_stage}, {f.stage_seconds[f.slowest_stage]:.1f} s over all chunks"))
    found += [(f"Drift from {drift.reference} (n={drift.count_reference})", str(drift)) for drift in f.drifts]
    return found


def _reasons(balance: Balance, figures: RunStatistics, rules: RunReportRules, failure: str) -> list[Reason]:
    found: list[Reason] = []
    if failure or not balance.is_balanced:
        found.append(Reason(Level.RED, Alert.DOES_NOT_BALANCE, failure or f"It does not balance: {balance}."))
    found += _rejection_reasons(balance, rules) + _arrival_reasons(figures, rules)
    if pairs := figures.review_reasons.get(ReviewReason.SAME_CONTENT_OTHER_PATIENT):
        words = f"{pairs} answered frames show a picture that is filed under two patients."
        found.append(Reason(Level.AMBER, Alert.TWO_PATIENTS, words))
    if balance.count_deferred:
        found.append(Reason(Level.AMBER, Alert.SCANS_WAIT, f"{balance.count_deferred} scans wait for the next run."))
    found += [
        Reason(Level.AMBER, Alert.DRIFT, f"Answers drift from {drift.reference}: stability index {drift.largest:.2f}.")
        for drift in figures.drifts
        if drift.largest > rules.amber_drift
    ]
    return found


def _rejection_reasons(balance: Balance, rules: RunReportRules) -> list[Reason]:
    rejected, settled = balance.count_rejected, balance.count_rejected + balance.count_scored
    share = rejected / settled if settled else 0.0
    words = f"{rejected} of {settled} scans were rejected ({share:.0%})."
    if share >= rules.red_rejection_share and rejected >= rules.red_rejection_count:
        return [Reason(Level.RED, Alert.REJECTIONS_HIGH, words)]
    return [Reason(Level.AMBER, Alert.REJECTIONS_HIGH, words)] if share >= rules.amber_rejection_share else []


def _arrival_reasons(figures: RunStatistics, rules: RunReportRules) -> list[Reason]:
    expected = figures.count_expected
    if not expected:
        return []
    words = f"{_arrived(figures).capitalize()}."
    if not figures.count_arrived:
        level = Level.AMBER if figures.is_quiet_weekday else Level.RED
        return [Reason(level, Alert.NOTHING_ARRIVED, words)]
    ratio = figures.count_arrived / expected
    is_usual = rules.amber_arrival_ratio <= ratio <= 1 / rules.amber_arrival_ratio
    return [] if is_usual else [Reason(Level.AMBER, Alert.ARRIVALS_UNUSUAL, words)]


def _disk_reasons(cache_folder: str, rules: RunReportRules) -> list[Reason]:
    """Of the disk that holds the cache on the machine that reconciles; other workers' disks are not seen."""
    folder = Path(cache_folder).expanduser()
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if there is None:
        return []
    free = disk_usage(there).free
    if free >= rules.amber_free_disk_gib * _GIB:
        return []
    words = f"{free / _GIB:.1f} GiB are free where this worker keeps its copies of models."
    return [Reason(Level.AMBER, Alert.DISK_LOW, words)]


def _arrived(figures: RunStatistics) -> str:
    if figures.count_expected is None:
        return f"got {figures.count_arrived} (too few days to say what to expect)"
    return f"expected about {figures.count_expected:g}, got {figures.count_arrived}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _record(engine: Engine, sheet: RunStatus) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into scoring_run_summary (scoring_run_id, level, count_arrived, count_expected, reasons, drift)
            values (:run, cast(:level as run_level), :arrived, :expected, :reasons, cast(:drift as jsonb))
            on conflict (scoring_run_id) do update
            set level = excluded.level, count_arrived = excluded.count_arrived, judged_at = now(),
                count_expected = excluded.count_expected, reasons = excluded.reasons, drift = excluded.drift"""),
            {
                "run": sheet.run.scoring_run_id,
                "level": sheet.level,
                "arrived": sheet.figures.count_arrived,
                "expected": sheet.figures.count_expected,
                "reasons": [reason.words for reason in sheet.reasons],
                "drift": json.dumps([asdict(drift) for drift in sheet.figures.drifts]),
            },
        )


@cache
def _environment() -> Environment:
    return page_environment(Path(__file__).with_name("templates"))
