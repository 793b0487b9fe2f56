"""Estimate how many tumors are missed if reviewers read the scans above a threshold only, and what more hours find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.labels import TUMORS
from braintumor.live_accuracy.estimate import Estimate, Floats, ReviewedScans, estimate_accuracy
from braintumor.live_accuracy.figures import PERIOD_DAYS

THRESHOLDS = (0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
"""Thresholds of the tumor probability, which is 1 minus the probability of ``normal``. At 0 every scan is read."""
TUMOR_SHARE = 0.1
"""Assumed share of the scans with a tumor, for images of the test split, whose classes are almost balanced."""
_DEFAULT_SECONDS = 20.0
"""Seconds per scan, until enough reviews are timed. A review session assumes the same."""


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


def median_seconds(connection: Connection) -> float:
    """Return the median time of a review in seconds, or 20 if fewer than 20 reviews are timed."""
    return float(connection.scalar(text(_PACE)) or _DEFAULT_SECONDS)


def live_steps(connection: Connection, model_name: str, seconds: float) -> list[ReadingStep]:
    """Return the steps of the last ``PERIOD_DAYS`` days, from all predictions of a model and its audited scans.

    The list is empty if the model scored no scan in these days. ``seconds`` is the reading time of one scan.
    """
    model = connection.scalar(text(_MODEL), {"name": model_name})
    values = {"model": model, "days": PERIOD_DAYS, "thresholds": list(THRESHOLDS)}
    load = connection.execute(statement("live_accuracy/reading_load"), values).all()
    scans = connection.execute(statement("live_accuracy/audited_scans"), values).all()
    settled = [scan for scan in scans if scan.outcome == "settled"]
    judged = JudgedScans(
        tumor_probability=np.array([1 - scan.probability_normal for scan in settled], float),
        is_tumor=np.array([scan.finding in TUMORS for scan in settled], float),
        weight=np.array([1 / scan.audit_probability for scan in settled], float),
        clusters=[scan.cluster_key for scan in settled],
    )
    return reading_steps(judged, seconds, [row.share_read for row in load]) if load else []


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
_PACE = """
    select percentile_cont(0.5) within group (order by seconds)
    from current_review
    where seconds > 0
    having count(*) >= 20"""
