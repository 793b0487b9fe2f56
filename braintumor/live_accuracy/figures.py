"""Estimate the live accuracy per scan, per patient and per class, and store one row per scoring run and figure.

The estimates use the audit sample of the last 90 days, and the predictions of the scoring runs of one model. A file of
many frames counts once. The first finding of a blind review counts, whatever others find later. Answers on the worklist
do not count: reviewers see the prediction there, and a scan on the worklist has no known probability of being read. Two
persons read a quarter of the audit sample, which shows how often reviewers err.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.labels import CLASSES, TumorClass
from braintumor.live_accuracy.estimate import Confidences, Estimate, ReviewedScans, estimate_accuracy
from braintumor.live_accuracy.reviewer_errors import correct_for_reviewers, correlation_of_estimates

PERIOD_DAYS = 90
"""Number of days whose scans are estimated. With 140 scans a night, about 250 of them are in the audit sample."""


class Figure(StrEnum):
    """Name the kinds of figures.

    ``CORRECTED`` is the figure per scan without the errors of reviewers, and ``READERS`` the share of scans in which
    two reviewers find the same. ``PREDICTED`` and ``FINDING`` have one figure for each class.
    """

    SCAN = "scan"
    CORRECTED = "scan, corrected"
    PATIENT = "patient"
    READERS = "two readers"
    PREDICTED = "predicted class"
    FINDING = "finding"


@dataclass(frozen=True, kw_only=True)
class LiveFigure:
    """Hold one figure of the live accuracy.

    Attributes:
        label: the class of the figure. Only ``PREDICTED`` and ``FINDING`` have one.
        value: estimated share of correct predictions, 0 to 1. It is ``None`` if the figure was not assessed. For
            ``READERS`` it is a share of findings that agree.
        low: lower end of the 95% interval, clustered by patient or scan.
        high: upper end of the 95% interval.
        not_assessed: reason for having no estimate. It is ``None`` with an estimate.
        count_drawn: number of scans in the audit sample. It is ``None`` for a finding, because an unread scan has none,
            and for ``READERS`` and ``CORRECTED``. The other counts are ``None`` with it, except ``count_settled``.
        count_read: of these, the number of scans with a blind review.
        count_settled: of these, the number of scans on which the blind reviewers agree. For ``FINDING``, ``READERS``
            and ``CORRECTED`` it is the number of scans that the estimate uses.
        count_conflict: of those read, the number of scans on which blind reviewers disagree. The estimate uses them
            too, with the first finding.
        count_undecided: of those read, the number of scans with ``cannot_tell`` or ``unusable_image`` only.
    """

    figure: Figure
    label: TumorClass | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    not_assessed: str | None = None
    count_drawn: int | None = None
    count_read: int | None = None
    count_settled: int
    count_conflict: int | None = None
    count_undecided: int | None = None

    def __str__(self) -> str:
        """Return the estimate with its interval as text, such as ``91.2% (86.0% to 94.6%)``, or ``not assessed``."""
        if self.value is None:
            return f"not assessed: {self.not_assessed}"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"

    @property
    def name(self) -> str:
        """Return the name of the figure for people."""
        return f"{_NAMES[self.figure]} {self.label or ''}".strip()

    @property
    def counts(self) -> str:
        """Return the numbers of scans as text."""
        if self.count_drawn is None:
            return f"{self.count_settled} scans"
        return (
            f"{self.count_drawn} drawn, {self.count_read} read, {self.count_settled} settled, "
            f"{self.count_conflict} in conflict, {self.count_undecided} undecided"
        )


@dataclass(frozen=True, kw_only=True)
class LiveAccuracy:
    """Hold the figures of the newest scoring run, about the predictions of the model ``model_name``.

    ``drop_evidence`` is the evidence of this year that the accuracy is too low. It is ``None`` without audited scans.
    """

    model_name: str
    drop_evidence: float | None
    estimated_at: datetime
    figures: Sequence[LiveFigure]


def estimate_figures(connection: Connection, model_version_id: int) -> list[LiveFigure]:
    """Return all figures of one model for the last ``PERIOD_DAYS`` days, those per scan and per patient first."""
    values = {"model": model_version_id, "days": PERIOD_DAYS}
    of_all = Confidences(**connection.execute(statement("live_accuracy/confidences"), values).one()._mapping)
    scans = connection.execute(statement("live_accuracy/audited_scans"), values).all()
    of_patients = [scan for scan in scans if scan.count_scan_of_patient is not None]
    agreement = _agreement(Figure.SCAN, scans, of_all=of_all)
    per_scan = _with_estimate(Figure.SCAN, agreement, **_counts(Figure.SCAN, scans))
    corrected, readers = _without_errors_of_reviewers(agreement, scans)
    per_patient = _figure(
        Figure.PATIENT, of_patients, missing="no patient of an audited scan is known" if scans else ""
    )
    figures = [per_scan, corrected, per_patient, readers]
    figures += [_figure(Figure.PREDICTED, [s for s in scans if s.predicted_class == name], name) for name in CLASSES]
    figures += [_figure(Figure.FINDING, [s for s in scans if s.finding == name], name) for name in CLASSES]
    return figures


def store_figures(connection: Connection, scoring_run_id: int, figures: Sequence[LiveFigure]) -> None:
    """Store the figures of a scoring run, or replace them if the run is reconciled again."""
    rows = [{**asdict(figure), "scoring_run_id": scoring_run_id} for figure in figures]
    connection.execute(statement("live_accuracy/store_figure"), rows)


def load_live_accuracy(connection: Connection) -> LiveAccuracy | None:
    """Return the figures of the newest scoring run, ``None`` before the first run."""
    rows = connection.execute(text(_NEWEST)).all()
    if not rows:
        return None
    figures = [
        LiveFigure(
            figure=Figure(row.figure),
            label=TumorClass(row.label) if row.label else None,
            **{name: getattr(row, name) for name in _STORED},
        )
        for row in rows
    ]
    of_run = {name: getattr(rows[0], name) for name in ("model_name", "drop_evidence", "estimated_at")}
    return LiveAccuracy(figures=figures, **of_run)


def _figure(figure: Figure, scans: Sequence[Any], label: TumorClass | None = None, *, missing: str = "") -> LiveFigure:
    """Return the figure of the audited ``scans``. ``missing`` is the reason for having none, if ``scans`` is empty."""
    agreement = _agreement(figure, scans, label, missing=missing)
    return _with_estimate(figure, agreement, label=label, **_counts(figure, scans))


def _agreement(
    figure: Figure,
    scans: Sequence[Any],
    label: TumorClass | None = None,
    *,
    of_all: Confidences | None = None,
    missing: str = "",
) -> Estimate | str:
    """Return the share of ``scans`` on which the reviewer agrees with the model, or why there is no estimate."""
    found = [scan for scan in scans if scan.finding is not None]
    findings = {scan.finding for scan in found}
    if not scans and label is None:
        return missing or f"no scan of the last {PERIOD_DAYS} days is in the audit sample"
    if label is None and len(findings) == 1:
        return f"reviewers found one class only ({findings.pop()})"
    repeats = [scan.count_scan_of_patient for scan in found] if figure is Figure.PATIENT else 1
    return estimate_accuracy(_reviewed(found, [scan.is_agreed for scan in found], repeats), of_all)


def _counts(figure: Figure, scans: Sequence[Any]) -> dict[str, int]:
    """Return the counts of a figure, by the names of the fields of ``LiveFigure``."""
    if figure is Figure.FINDING:
        return {"count_settled": sum(scan.finding is not None for scan in scans)}
    outcomes = Counter(scan.outcome for scan in scans)
    return {
        "count_drawn": len(scans),
        "count_read": len(scans) - outcomes["unread"],
        "count_settled": outcomes["settled"],
        "count_conflict": outcomes["conflict"],
        "count_undecided": outcomes["undecided"] + outcomes["unusable"],
    }


def _without_errors_of_reviewers(agreement: Estimate | str, scans: Sequence[Any]) -> tuple[LiveFigure, LiveFigure]:
    """Return the figures ``CORRECTED`` and ``READERS``. ``agreement`` is the estimate of the figure ``SCAN``."""
    read = [scan for scan in scans if scan.finding is not None]
    twice = [scan for scan in read if scan.second_finding is not None]
    both = _reviewed(twice, [scan.finding == scan.second_finding for scan in twice])
    readers = estimate_accuracy(both)
    agreed = np.array([scan.is_agreed for scan in twice], float)
    corrected = correct_for_reviewers(agreement, readers, correlation_of_estimates(agreed, both.correct, len(read)))
    return (
        _with_estimate(Figure.CORRECTED, corrected, count_settled=len(read)),
        _with_estimate(Figure.READERS, readers, count_settled=len(twice)),
    )


def _with_estimate(figure: Figure, estimate: Estimate | str, **values: Any) -> LiveFigure:
    if isinstance(estimate, str):
        return LiveFigure(figure=figure, not_assessed=estimate, **values)
    return LiveFigure(figure=figure, value=estimate.value, low=estimate.low, high=estimate.high, **values)


def _reviewed(scans: Sequence[Any], agreed: Sequence[bool], repeats: Sequence[int] | int = 1) -> ReviewedScans:
    """Return scans and their agreement for an estimate. A scan's weight is divided by its number of ``repeats``."""
    return ReviewedScans(
        correct=np.array(agreed, float),
        probability=np.array([scan.audit_probability for scan in scans], float) * np.array(repeats, float),
        clusters=[scan.cluster_key for scan in scans],
        confidence=np.array([scan.confidence for scan in scans], float),
    )


_NAMES = {
    Figure.SCAN: "per scan",
    Figure.CORRECTED: "per scan, without errors of reviewers",
    Figure.PATIENT: "per patient",
    Figure.READERS: "two reviewers agree with each other",
    Figure.PREDICTED: "predicted as",
    Figure.FINDING: "reviewers find",
}
_STORED = [name for name in LiveFigure.__dataclass_fields__ if name not in ("figure", "label")]
_NEWEST = """
    select live_accuracy.*, class::text as label
    from live_accuracy
    where scoring_run_id = (select max(scoring_run_id) from live_accuracy)
    order by figure, class"""
