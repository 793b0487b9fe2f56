"""Compare a run's predictions with two references by the population stability index (PSI).

The references are the recent runs over the same prefixes, and the test split of the model. The class mix is compared
only with recent runs, because the test split is almost balanced and a hospital's scans are not. Confidence differs by
class, so the reference is first weighted to the run's class mix.

Runs and the test split are counted in patients, because slices of one head are not independent. A group of
near-duplicate test images counts as one patient if no patient is known. By chance alone, the index is about
chi-squared / n, with n = 1 / (1/run + 1/reference). Here, run and reference are the two counts (Yurdakul, Statistical
properties of population stability index, 2018). The index is assessed only if this chance value is below the bound in
99% of runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause, text

from braintumor.db.statements import statement

RECENT_RUNS = "the runs of the 28 days before"
TEST_SPLIT = "the model's test split"
_MIN_RUNS = 5
_CHANCE = 0.99

Histogram = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Hold the population stability indexes of class mix and confidence against one reference.

    ``reference`` is ``RECENT_RUNS`` or ``TEST_SPLIT``. ``count_reference`` is its number of patients.
    ``None`` means that an index was not assessed.
    """

    reference: str
    count_reference: int
    of_class: float | None
    of_confidence: float | None

    @property
    def largest(self) -> float:
        """Return the larger index, or 0 if neither is assessed."""
        return max(self.of_class or 0.0, self.of_confidence or 0.0)

    def __str__(self) -> str:
        values = {"class mix": self.of_class, "confidence": self.of_confidence}
        if self.reference == TEST_SPLIT:
            del values["class mix"]
        return ", ".join(f"{name} {'not assessed' if v is None else format(v, '.2f')}" for name, v in values.items())


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Hold the numbers of patients of runs or of the test split, by predicted class and confidence.

    The keys of ``people`` are pairs of class and tenth of confidence. A patient has weight 1, in equal parts for each
    prediction. ``count_frame`` is the number of predictions, and ``count_run`` the number of runs.
    """

    people: Mapping[tuple[str, str], float]
    count_frame: int
    count_run: int = 0

    @property
    def classes(self) -> dict[str, float]:
        """Return the number of patients by class."""
        counts: dict[str, float] = {}
        for (label, _), count in self.people.items():
            counts[label] = counts.get(label, 0.0) + count
        return counts

    def confidences(self, weights: Histogram) -> tuple[dict[str, float], float]:
        """Return the number of patients by tenth of confidence, as if the classes were as frequent as in ``weights``.

        Also return the sum of these numbers. It is the effective sample size after the weighting.
        """
        of_class = self.classes
        known = {label: weight for label, weight in weights.items() if label in of_class and weight}
        shares = {label: weight / sum(known.values()) for label, weight in known.items()}
        if not shares:
            return {}, 0.0
        effective = 1 / sum(share**2 / of_class[label] for label, share in shares.items())
        counts: dict[str, float] = {}
        for (label, tenth), count in self.people.items():
            if label in shares:
                counts[tenth] = counts.get(tenth, 0.0) + effective * shares[label] * count / of_class[label]
        return counts, effective


def measure_drift(
    connection: Connection, values: Mapping[str, Any], *, bound: float, minimum_frames: int
) -> list[Drift]:
    """Compare a run with the recent runs of its prefixes, and with the test split of its model.

    ``values`` has the run's ID (``run``), its S3 prefixes (``uri``) and its model's ID (``model``). An index above
    ``bound`` makes a run amber. No index is assessed if either side has fewer than ``minimum_frames`` predictions.
    """
    current = _mix(connection, statement("scoring/drift_of_runs", runs="scoring/drift_this_run.sql"), values)
    recent = _mix(connection, statement("scoring/drift_of_runs", runs="scoring/drift_recent_runs.sql"), values)
    tested = _mix(connection, statement("scoring/drift_of_test_split"), values)
    drifts = []
    for name, reference in ((TEST_SPLIT, tested), (RECENT_RUNS, recent)):
        is_assessed = min(current.count_frame, reference.count_frame) >= minimum_frames
        is_assessed = is_assessed and (name == TEST_SPLIT or recent.count_run >= _MIN_RUNS)
        of_class = class_index(connection, reference, current, bound) if is_assessed and name == RECENT_RUNS else None
        of_confidence = confidence_index(connection, reference, current, bound) if is_assessed else None
        count = round(sum(reference.people.values()))
        drifts.append(Drift(reference=name, count_reference=count, of_class=of_class, of_confidence=of_confidence))
    return drifts


def class_index(connection: Connection, reference: Mix, current: Mix, bound: float) -> float | None:
    """Return the PSI of the class mixes, or ``None`` if chance alone could exceed ``bound``."""
    before, after = reference.classes, current.classes
    return _index(connection, before, after, bound, effective=sum(before.values()))


def confidence_index(connection: Connection, reference: Mix, current: Mix, bound: float) -> float | None:
    """Return the PSI of confidence for equal class mixes, or ``None`` if chance alone could exceed ``bound``."""
    before, effective = reference.confidences(current.classes)
    shared = {label: count for label, count in current.classes.items() if label in reference.classes}
    after, _ = current.confidences(shared)
    return _index(connection, before, after, bound, effective=effective)


def _index(
    connection: Connection, before: Histogram, after: Histogram, bound: float, *, effective: float
) -> float | None:
    """Return the PSI of two histograms, or ``None`` if chance alone could exceed ``bound``.

    ``effective`` is the effective sample size of ``before``. Postgres computes the index, because the view
    ``drift_weekly`` uses the same SQL function.
    """
    count = sum(after.values())
    if not count or not effective:
        return None
    from scipy.special import gammaincinv  # scipy.stats takes ten times as long to import, in every task

    freedom = max(1, len({name for name, people in [*before.items(), *after.items()] if people}) - 1)
    quantile = 2 * gammaincinv(freedom / 2, _CHANCE)  # of the chi-squared distribution
    if quantile * (1 / count + 1 / effective) > bound:
        return None
    histograms = {"before": json.dumps(before), "after": json.dumps(after)}
    index = connection.scalar(text("select stability_index(cast(:before as jsonb), cast(:after as jsonb))"), histograms)
    return None if index is None else float(index)


def _mix(connection: Connection, sql: TextClause, values: Mapping[str, Any]) -> Mix:
    rows = connection.execute(sql, values).all()
    return Mix(
        people={(row.label, row.tenth): row.people for row in rows},
        count_frame=sum(row.count_frame for row in rows),
        count_run=rows[0].count_run if rows else 0,
    )
