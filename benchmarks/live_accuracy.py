"""Simulate intervals, comparisons and alarms of the live accuracy: ``python -m benchmarks.live_accuracy FILE.csv``.

``python -m benchmarks.accuracy.predictions`` writes ``FILE.csv``: test predictions of real images with their
labels. A period has 12,600 scans, 140 in each of 90 nights. The simulation draws all images of a person together, until
the period is full. The labels are hidden. Reviewers read a scan of the audit sample, which has a share of 0.02. In some
periods they also read half of the scans with a confidence below 0.6. The seed is fixed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from braintumor.evaluation.metrics.classification import wilson_interval
from braintumor.labels import CLASSES, TUMORS, TumorClass
from braintumor.live_accuracy.estimate import Confidences, Estimate, Floats, ReviewedScans, estimate_accuracy
from braintumor.live_accuracy.monitor import ALARM, monitor_wealth
from braintumor.live_accuracy.reading import (
    MINIMUM_WEEKS,
    THRESHOLDS,
    TUMOR_SHARE,
    JudgedScans,
    compare_missed,
    reading_steps,
    steps_on_test,
)
from braintumor.live_accuracy.reviewer_errors import correct_for_reviewers, correlation_of_estimates

Integers = NDArray[np.int64]

_PERIODS = 1000
_SCANS = 12_600
_AUDIT, _FLAGGED, _FLAGGED_BELOW = 0.02, 0.5, 0.6
_ERROR = 0.1
"""Share of wrong findings of the reviewers in the simulations with reviewers who are 90% accurate."""
_READ_TWICE = 0.25
"""Share of the audit sample that two persons read: ``has_two_readers`` of the view ``audited_scan``."""
_SHIFTED = (0.06, 0.06, 0.85, 0.03)
"""Shares of the classes of a ward, in the order of ``CLASSES``."""
_WEEKLY = 20
"""Number of scans in the audit sample of a week, with 140 scans a night."""
_TEST_IMAGES = 430
"""Number of images in the test split of the SARTAJ images."""
_BOUNDS = (0.0, 0.01, 0.02)
"""Values of ``amber_accuracy_drop`` in the run report rules. The packaged value is 0.01."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Hold N test predictions: labels and predicted classes by position, confidences, tumor probabilities, persons."""

    labels: Integers
    predicted: Integers
    confidence: Floats
    tumor_probability: Floats
    persons: Integers

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read the file of ``benchmarks.accuracy.predictions``."""
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        probabilities = np.array([[float(row[label.value]) for label in CLASSES] for row in rows])
        return cls(
            labels=np.array([TumorClass(row["label"]).position for row in rows]),
            predicted=probabilities.argmax(axis=1),
            confidence=probabilities.max(axis=1),
            tumor_probability=1 - probabilities[:, TumorClass.NORMAL.position],
            persons=np.unique([row["person"] for row in rows], return_inverse=True)[1],
        )


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Describe the periods of a simulation.

    Attributes:
        shares: shares of the classes. ``None`` keeps those of the predictions.
        with_flagged: whether reviewers also read half of the scans with low confidence.
        reviewers: ``right``, ``independent`` (their errors are independent of the model's errors) or ``alike`` (their
            errors are on images on which the model errs, and they name the model's class there).
        scans: number of scans of a period.
    """

    name: str
    shares: tuple[float, ...] | None = None
    with_flagged: bool = False
    reviewers: str = "right"
    scans: int = _SCANS


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The share of intervals that contain the true accuracy, their mean width, and the mean error of the estimate."""

    covered: float
    width: float
    error: float


SCENARIOS = (
    Scenario(name="classes of the test split"),
    Scenario(name="85% of the scans are normal", shares=_SHIFTED),
    Scenario(name="flagged scans read too", with_flagged=True),
    Scenario(name="flagged scans read too, 85% normal", shares=_SHIFTED, with_flagged=True),
    Scenario(name="a subgroup with 40 audited scans", scans=2000),
    Scenario(name="a subgroup with 100 audited scans", scans=5000),
    Scenario(name="90% accurate reviewers, independent errors", reviewers="independent"),
    Scenario(name="90% accurate reviewers, same errors as the model", reviewers="alike"),
)


def coverage(
    predictions: Predictions, scenario: Scenario, *, periods: int = _PERIODS, seed: int = 0
) -> dict[str, Coverage]:
    """Return the coverage of each kind of estimate over simulated periods."""
    random = np.random.default_rng(seed)
    results: dict[str, list[tuple[bool, float, float]]] = {}
    for _ in range(periods):
        scans, clusters = _period(predictions, scenario, random)
        labels, predicted = predictions.labels[scans], predictions.predicted[scans]
        confidence, truth = predictions.confidence[scans], float((labels == predicted).mean())
        is_flagged = (confidence < _FLAGGED_BELOW) & scenario.with_flagged
        probability = np.where(is_flagged, _FLAGGED, _AUDIT)
        read = random.random(len(scans)) < probability
        findings = _findings(labels[read], predicted[read], scenario.reviewers, random)
        reviewed = ReviewedScans(
            correct=(findings == predicted[read]).astype(float),
            probability=probability[read],
            clusters=[str(each) for each in clusters[read]],
            confidence=confidence[read],
        )
        of_all = Confidences(count=len(scans), mean=float(confidence.mean()), variance=float(confidence.var()))
        estimates = {
            "before: unweighted share": _unweighted(reviewed),
            "effective number of patients, as in SQL": _of_sql(reviewed),
            "weighted": estimate_accuracy(reviewed),
            "weighted, with confidences": estimate_accuracy(reviewed, of_all),
        }
        twice = random.random(len(findings)) < _READ_TWICE
        second = _findings(labels[read], predicted[read], scenario.reviewers, random)
        pairs = _of_pairs(reviewed, twice, findings == second)
        estimates["the same, without errors of reviewers"] = correct_for_reviewers(
            estimates["weighted, with confidences"],
            estimate_accuracy(pairs),
            correlation_of_estimates(reviewed.correct[twice], pairs.correct, len(findings)),
        )
        for name, estimate in estimates.items():
            if isinstance(estimate, Estimate):
                is_covered = bool(estimate.low <= truth <= estimate.high)
                row = is_covered, estimate.high - estimate.low, estimate.value - truth
                results.setdefault(name, []).append(row)
    return {
        name: Coverage(**dict(zip(("covered", "width", "error"), np.mean(rows, axis=0).tolist(), strict=True)))
        for name, rows in results.items()
    }


def comparisons(
    predictions: Predictions, *, lost: float = 0.0, periods: int = _PERIODS, seed: int = 0
) -> dict[str, Floats]:
    """Return the shares of periods in which the missed tumors are higher or lower than predicted, or not assessed.

    The arrays (thresholds,) have one share for each threshold above 0. "higher or lower, any" has the share for all
    thresholds together, (1,). A share ``TUMOR_SHARE`` of the scans has a tumor, and a share ``lost`` of these tumors
    has the tumor probability 0.
    """
    random = np.random.default_rng(seed)
    is_tumor = np.isin(predictions.labels, [label.position for label in TUMORS])
    counts = np.bincount(predictions.labels, minlength=len(CLASSES)) / is_tumor.sum() * TUMOR_SHARE
    counts[TumorClass.NORMAL.position] = 1 - TUMOR_SHARE
    scenario = Scenario(name="", shares=tuple(counts))
    verdicts = []
    for _ in range(periods):
        images, groups = _period(predictions, Scenario(name="", scans=_TEST_IMAGES), random)
        predicted = steps_on_test(
            is_tumor[images].astype(float), predictions.tumor_probability[images], [str(each) for each in groups], 20
        )
        scans, clusters = _period(predictions, scenario, random)
        read = random.random(len(scans)) < _AUDIT
        scans, clusters = scans[read], clusters[read]
        is_lost = is_tumor[scans] & (random.random(len(scans)) < lost)
        judged = JudgedScans(
            tumor_probability=np.where(is_lost, 0, predictions.tumor_probability[scans]),
            is_tumor=is_tumor[scans].astype(float),
            weight=np.full(len(scans), 1 / _AUDIT),
            clusters=[str(each) for each in clusters],
        )
        pairs = zip(reading_steps(judged, 20), predicted, strict=True)
        verdicts.append([compare_missed(each, other, MINIMUM_WEEKS) for each, other in pairs][:-1])
    words = np.array(verdicts)
    shares: dict[str, Floats] = {
        name: np.char.startswith(words, name).mean(axis=0) for name in ("higher", "lower", "not assessed")
    }
    differs = np.char.startswith(words, "higher") | np.char.startswith(words, "lower")
    return {**shares, "higher or lower, any": differs.any(axis=1).mean(keepdims=True)}


def alarms(*, accuracy: float, target: float, weeks: int = 52, years: int = 2000, seed: int = 0) -> Floats:
    """Return the week of the first alarm in each simulated year. It is infinite if there is no alarm."""
    random = np.random.default_rng(seed)
    correct = (random.random((years, weeks * _WEEKLY)) < accuracy).astype(float)
    reached = monitor_wealth(correct, target=target) >= ALARM
    return np.where(reached.any(axis=1), reached.argmax(axis=1) // _WEEKLY + 1.0, np.inf)


def _period(predictions: Predictions, scenario: Scenario, random: np.random.Generator) -> tuple[Integers, Integers]:
    """Return the positions of the scans of a period, and the number of the person of each scan."""
    count = int(predictions.persons.max()) + 1
    images = np.argsort(predictions.persons, kind="stable")
    sizes = np.bincount(predictions.persons, minlength=count)
    starts = sizes.cumsum() - sizes
    of_person = predictions.labels[images[starts]]
    weights = np.ones(count)
    if scenario.shares is not None:
        now = np.array([sizes[of_person == position].sum() for position in range(len(CLASSES))])
        weights = (np.array(scenario.shares) / now)[of_person]
    persons = random.choice(count, size=scenario.scans, p=weights / weights.sum())
    ends = sizes[persons].cumsum()
    persons = persons[: int(np.searchsorted(ends, scenario.scans)) + 1]
    scans = np.concatenate([images[starts[person] : starts[person] + sizes[person]] for person in persons])
    return scans[: scenario.scans], np.repeat(np.arange(len(persons)), sizes[persons])[: scenario.scans]


def _findings(labels: Integers, predicted: Integers, reviewers: str, random: np.random.Generator) -> Integers:
    """Return the findings of one reviewer for each scan."""
    if reviewers == "right":
        return labels
    if reviewers == "independent":
        errs = random.random(len(labels)) < _ERROR
        return np.where(errs, (labels + random.integers(1, len(CLASSES), size=len(labels))) % len(CLASSES), labels)
    is_wrong = predicted != labels
    share = min(1.0, _ERROR / max(float(is_wrong.mean()), 1e-9))
    return np.where(is_wrong & (random.random(len(labels)) < share), predicted, labels)


def _unweighted(reviewed: ReviewedScans) -> Estimate:
    count, hits = len(reviewed.correct), float(reviewed.correct.sum())
    low, high = wilson_interval(hits, count)
    return Estimate(value=hits / count, low=low, high=high, count=count, count_cluster=count)


def _of_sql(reviewed: ReviewedScans) -> Estimate:
    """Return the weighted share with the interval of the view ``subgroup_summary`` and of the query ``calibration``."""
    weight = 1 / reviewed.probability
    of_patient = np.bincount(np.unique(reviewed.clusters, return_inverse=True)[1], weight)
    value, size = float(weight @ reviewed.correct / weight.sum()), float(weight.sum() ** 2 / (of_patient**2).sum())
    low, high = wilson_interval(value * size, size)
    return Estimate(value=value, low=low, high=high, count=len(weight), count_cluster=len(of_patient))


def _of_pairs(reviewed: ReviewedScans, twice: NDArray[np.bool_], agreed: NDArray[np.bool_]) -> ReviewedScans:
    """Return the scans that are read ``twice`` (n,), with the agreement of their two findings."""
    return ReviewedScans(
        correct=agreed[twice].astype(float),
        probability=reviewed.probability[twice],
        clusters=[reviewed.clusters[position] for position in np.flatnonzero(twice).tolist()],
        confidence=reviewed.confidence[twice],
    )


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path, exists=True))
def main(predictions: Path) -> None:
    """Print the coverage of the intervals for PREDICTIONS, comparisons with a test split, and the delay of alarms."""
    known = Predictions.read(predictions)
    test = float((known.labels == known.predicted).mean())
    print(f"{len(known.labels)} images of {known.persons.max() + 1} persons, accuracy {test:.3f}\n")
    print("| scans | estimate | coverage | mean width | mean error |\n|---|---|---:|---:|---:|")
    for scenario in SCENARIOS:
        for name, found in coverage(known, scenario).items():
            figures = f"{found.covered:.3f} | {found.width:.3f} | {found.error:+.3f}"
            print(f"| {scenario.name} | {name} | {figures} |", flush=True)
    print("\n| tumors lost | threshold | higher than predicted | lower than predicted | not assessed |")
    print("|---:|---:|---:|---:|---:|")
    for lost in (0.0, 0.1, 0.2):
        compared = comparisons(known, lost=lost)
        for number, threshold in enumerate(THRESHOLDS[:-1]):
            shares = (f"{compared[name][number]:.3f}" for name in ("higher", "lower", "not assessed"))
            print(f"| {lost} | {threshold} | {' | '.join(shares)} |", flush=True)
        print(f"| {lost} | any | {compared['higher or lower, any'][0]:.3f} | | |", flush=True)
    print("\n| test accuracy | bound | live accuracy | years with an alarm | median week | 90% by week |")
    print("|---:|---:|---:|---:|---:|---:|")
    for tested, bound, drop in product((0.85, 0.95), _BOUNDS, (0.0, 0.01, 0.02, 0.05, 0.10)):
        weeks = alarms(accuracy=tested - drop, target=tested - bound)
        median, late = np.quantile(weeks, [0.5, 0.9], method="higher")
        alarmed = np.isfinite(weeks).mean()
        print(f"| {tested} | {bound} | {tested - drop:.2f} | {alarmed:.3f} | {median:.0f} | {late:.0f} |")


if __name__ == "__main__":
    main()
