"""Estimate how many tumors are missed if reviewers read the scans above a threshold only, and what more hours find.

The test split predicts it. Audited scans show it later, and ``compare_steps`` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.labels import TUMORS
from braintumor.live_accuracy.estimate import (
    Estimate,
    Floats,
    ReviewedScans,
    difference_interval,
    estimate_accuracy,
)
from braintumor.live_accuracy.figures import PERIOD_DAYS
from braintumor.live_accuracy.pace import median_seconds

THRESHOLDS = (0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
"""Thresholds of the tumor probability, which is 1 minus the probability of ``normal``. At 0 every scan is read."""
TUMOR_SHARE = 0.1
"""Assumed share of the scans with a tumor, for images of the test split, whose classes are almost balanced."""
MINIMUM_WEEKS = 8
"""Smallest number of weeks with audited scans for a comparison with the test split."""


@dataclass(frozen=True, kw_only=True)
class JudgedScans:
    """Hold scans whose true class is known, or was found by reviewers.

    Attributes:
        tumor_probability: (n,) 1 minus the model's probability of ``normal``.
        is_tumor: (n,) whether the scan shows one of the three tumors.
        weight: (n,) number of scans for which this scan stands, for example 1 / probability of its selection.
        clusters: (n,) key of the patient, or of the scan if the patient is not known.
    """

    tumor_probability: Floats
    is_tumor: Floats
    weight: Floats
    clusters: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ReadingStep:
    """Hold the effect of reading all scans with a tumor probability of at least ``threshold``.

    Attributes:
        share_read: share of all scans that are read, 0 to 1.
        minutes: minutes of reading per 100 scans.
        missed: share of the tumors below the threshold, or a text that says why it was not assessed.
        found_per_hour: tumors per hour of reading the scans between this threshold and the next higher one: estimate,
            lower and upper end of the 95% interval. It is ``None`` if it was not assessed.
    """

    threshold: float
    share_read: float
    minutes: float
    missed: Estimate | str
    found_per_hour: tuple[float, float, float] | None

    @property
    def missed_words(self) -> str:
        """Return the missed tumors of 100 with the interval as text."""
        if not self.threshold:
            return "0: every scan is read"
        if isinstance(self.missed, str):
            return f"not assessed: {self.missed}"
        return f"{100 * self.missed.value:.1f} ({100 * self.missed.low:.1f} to {100 * self.missed.high:.1f})"

    @property
    def found_words(self) -> str:
        """Return the tumors found per hour with the interval as text."""
        return (
            "not assessed" if self.found_per_hour is None else "{:.1f} ({:.1f} to {:.1f})".format(*self.found_per_hour)
        )


@dataclass(frozen=True, kw_only=True)
class ComparedStep:
    """Hold the observed and the predicted effect of one threshold, and the comparison of their missed tumors.

    ``predicted`` is ``None`` without test images of both kinds.
    """

    observed: ReadingStep
    predicted: ReadingStep | None
    comparison: str


def reading_steps(judged: JudgedScans, seconds: float, share_read: Sequence[float] | None = None) -> list[ReadingStep]:
    """Return one step for each of ``THRESHOLDS``.

    Args:
        judged: the scans.
        seconds: reading time of one scan in seconds.
        share_read: share of all scans at or above each threshold. Without it, the shares are those of ``judged``.
    """
    if share_read is None:
        total = judged.weight.sum()
        share_read = [float(judged.weight @ (judged.tumor_probability >= each) / total) for each in THRESHOLDS]
    steps: list[ReadingStep] = []
    is_tumor, above = judged.is_tumor > 0, np.inf
    for threshold, share in zip(THRESHOLDS, share_read, strict=True):
        is_below = judged.tumor_probability < threshold
        between = _share(judged, is_tumor, where=~is_below & (judged.tumor_probability < above))
        step = ReadingStep(
            threshold=threshold,
            share_read=share,
            minutes=100 * share * seconds / 60,
            missed=_share(judged, is_below, where=is_tumor),
            found_per_hour=None if isinstance(between, str) else _per_hour(between, seconds),
        )
        steps.append(step)
        above = threshold
    return steps


def steps_on_test(
    is_tumor: Floats, tumor_probability: Floats, groups: Sequence[str], seconds: float
) -> list[ReadingStep]:
    """Return the steps for test images (n,), weighted so that a share of ``TUMOR_SHARE`` of the scans has a tumor.

    The list is empty without a tumor or without another image. ``groups`` has the patient or the group of each image.
    """
    tumors = float(is_tumor.sum())
    others = len(is_tumor) - tumors
    if not tumors or not others:
        return []
    weight = np.where(is_tumor > 0, TUMOR_SHARE / tumors, (1 - TUMOR_SHARE) / others)
    judged = JudgedScans(tumor_probability=tumor_probability, is_tumor=is_tumor, weight=weight, clusters=groups)
    return reading_steps(judged, seconds)


def predicted_steps(connection: Connection, model_name: str, seconds: float) -> list[ReadingStep]:
    """Return the steps for the test images of the snapshot that a model was trained on, as ``steps_on_test``."""
    images = connection.execute(statement("live_accuracy/tested_images"), {"name": model_name}).all()
    return steps_on_test(
        np.array([image.is_tumor for image in images], float),
        np.array([image.tumor_probability for image in images], float),
        [image.group_key for image in images],
        seconds,
    )


def compare_steps(connection: Connection, model_name: str) -> list[ComparedStep]:
    """Return the steps of the last ``PERIOD_DAYS`` days next to the steps that the test split of the model predicts.

    The observed steps use all predictions of the model's scoring runs, and its audited scans. The list is empty if the
    model scored no scan in these days.
    """
    model = connection.scalar(text(_MODEL), {"name": model_name})
    values = {"model": model, "days": PERIOD_DAYS, "thresholds": list(THRESHOLDS)}
    load = connection.execute(statement("live_accuracy/reading_load"), values).all()
    if not load:
        return []
    seconds = median_seconds(connection)
    scans = connection.execute(statement("live_accuracy/audited_scans"), values).all()
    found = [scan for scan in scans if scan.finding is not None]
    judged = JudgedScans(
        tumor_probability=np.array([1 - scan.probability_normal for scan in found], float),
        is_tumor=np.array([scan.finding in TUMORS for scan in found], float),
        weight=np.array([1 / scan.audit_probability for scan in found], float),
        clusters=[scan.cluster_key for scan in found],
    )
    observed = reading_steps(judged, seconds, [row.share_read for row in load])
    known = predicted_steps(connection, model_name, seconds)
    predicted: Sequence[ReadingStep | None] = known or [None] * len(observed)
    weeks = len({scan.week for scan in found})
    return [
        ComparedStep(observed=each, predicted=other, comparison=compare_missed(each, other, weeks))
        for each, other in zip(observed, predicted, strict=True)
    ]


def compare_missed(observed: ReadingStep, predicted: ReadingStep | None, weeks: int) -> str:
    """Return whether the missed tumors agree with those predicted, with the 95% interval of the difference.

    The observed share is higher or lower than predicted if the interval of the difference does not contain 0.

    Args:
        observed: the step on audited scans.
        predicted: the same step on the test split.
        weeks: number of weeks with audited scans.
    """
    if not observed.threshold:
        return ""
    if weeks < MINIMUM_WEEKS:
        return f"not assessed: too few weeks with audited scans ({weeks} of {MINIMUM_WEEKS})"
    if isinstance(observed.missed, str):
        return f"not assessed: {observed.missed}"
    if predicted is None or isinstance(predicted.missed, str):
        return "not assessed: too few tumors or other images in the test split"
    low, high = difference_interval(observed.missed, predicted.missed)
    verdict = "higher than predicted" if low > 0 else "lower than predicted" if high < 0 else "agrees"
    return f"{verdict} ({100 * low:+.1f} to {100 * high:+.1f})"


def _share(judged: JudgedScans, hits: NDArray[np.bool_], *, where: NDArray[np.bool_]) -> Estimate | str:
    """Return the weighted share of ``hits`` (n,) among the scans for which ``where`` (n,) is true."""
    chosen = np.flatnonzero(where)
    return estimate_accuracy(
        ReviewedScans(
            correct=hits[chosen].astype(float),
            probability=1 / judged.weight[chosen],
            clusters=[judged.clusters[position] for position in chosen.tolist()],
            confidence=np.zeros(len(chosen)),
        )
    )


def _per_hour(share: Estimate, seconds: float) -> tuple[float, float, float]:
    """Return a share of the scans and its interval as numbers per hour of reading."""
    return 3600 / seconds * share.value, 3600 / seconds * share.low, 3600 / seconds * share.high


_MODEL = "select model_version_id from model_status where model_name = :name"
