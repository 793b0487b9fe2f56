"""Estimate the live accuracy per scan, per patient and per class, and store one row per scoring run and figure.

The estimates use the audit sample of the last 90 days, and the predictions of the scoring runs of one model. A file of
many frames counts once. The first blind reviews count, because later reviewers have seen the prediction. Answers on the
worklist do not count: reviewers see the prediction there, and a scan on the worklist has no known probability of being
read.
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

PERIOD_DAYS = 90
"""Number of days whose scans are estimated. With 140 scans a night, about 250 of them are in the audit sample."""


class Figure(StrEnum):
    """Name the kinds of figures. ``PREDICTED`` and ``FINDING`` have one figure for each class."""

    SCAN = "scan"
    PATIENT = "patient"
    PREDICTED = "predicted class"
    FINDING = "finding"


@dataclass(frozen=True, kw_only=True)
class LiveFigure:
    """Hold one figure of the live accuracy.

    Attributes:
        label: the class of the figure. It is ``None`` for the figures per scan and per patient.
        value: estimated share of correct predictions, 0 to 1. It is ``None`` if the figure was not assessed.
        low: lower end of the 95% interval, clustered by patient or scan.
        high: upper end of the 95% interval.
        not_assessed: reason for having no estimate. It is ``None`` with an estimate.
        count_drawn: number of scans in the audit sample. It is ``None`` for a finding, because an unread scan has none.
        count_read: of these, the number of scans with a blind review.
        count_settled: of these, the number of scans with a finding. The estimate uses them.
        count_conflict: of those read, the number of scans in conflict.
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
    def counts(self) -> str:
        """Return the numbers of scans as text."""
        if self.count_drawn is None:
            return f"{self.count_settled} settled"
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
    figures = [
        _figure(Figure.SCAN, scans, of_all=of_all),
        _figure(Figure.PATIENT, of_patients, missing="no patient of an audited scan is known" if scans else ""),
    ]
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


def _figure(
    figure: Figure,
    scans: Sequence[Any],
    label: TumorClass | None = None,
    *,
    of_all: Confidences | None = None,
    missing: str = "",
) -> LiveFigure:
    """Return the figure of the audited ``scans``. ``missing`` is the reason for having none, if ``scans`` is empty."""
    settled = [scan for scan in scans if scan.outcome == "settled"]
    findings = {scan.finding for scan in settled}
    counts: dict[str, Any] = {"count_settled": len(settled)}
    if figure is not Figure.FINDING:
        outcomes = Counter(scan.outcome for scan in scans)
        counts |= {
            "count_drawn": len(scans),
            "count_read": len(scans) - outcomes["unread"],
            "count_conflict": outcomes["conflict"],
            "count_undecided": outcomes["undecided"] + outcomes["unusable"],
        }
    if not scans and label is None:
        estimate: Estimate | str = missing or f"no scan of the last {PERIOD_DAYS} days is in the audit sample"
    elif label is None and len(findings) == 1:
        estimate = f"reviewers found one class only ({findings.pop()})"
    else:
        estimate = estimate_accuracy(_reviewed(settled, by_patient=figure is Figure.PATIENT), of_all)
    if isinstance(estimate, str):
        return LiveFigure(figure=figure, label=label, not_assessed=estimate, **counts)
    return LiveFigure(figure=figure, label=label, value=estimate.value, low=estimate.low, high=estimate.high, **counts)


def _reviewed(settled: Sequence[Any], *, by_patient: bool) -> ReviewedScans:
    """Return the settled scans for an estimate. ``by_patient`` gives each patient the same weight in the mean."""
    repeats = [scan.count_scan_of_patient if by_patient else 1 for scan in settled]
    return ReviewedScans(
        correct=np.array([scan.is_agreed for scan in settled], float),
        probability=np.array([scan.audit_probability for scan in settled], float) * np.array(repeats, float),
        clusters=[scan.cluster_key for scan in settled],
        confidence=np.array([scan.confidence for scan in settled], float),
    )


_STORED = [name for name in LiveFigure.__dataclass_fields__ if name not in ("figure", "label")]
_NEWEST = """
    select live_accuracy.*, class::text as label
    from live_accuracy
    where scoring_run_id = (select max(scoring_run_id) from live_accuracy)
    order by figure, class"""
