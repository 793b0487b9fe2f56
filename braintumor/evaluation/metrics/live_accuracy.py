"""Estimate the accuracy on production scans from reviewed scans, and watch it for a drop.

Only few scans are reviewed. The probability with which a scan is selected for review is known. It is, for example, 0.02
in the audit sample and 1 for a scan that every reviewer sees. The estimate weights each reviewed scan by the inverse of
its selection probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.floating]

MINIMUM_CLUSTERS = 20
"""Smallest number of clusters of reviewed scans for an estimate. ``ReviewedScans`` defines the clusters."""
DROPS = (0.02, 0.05, 0.10, 0.20)
"""Possible drops of the accuracy below its target. ``monitor_wealth`` makes one bet for each drop."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Hold an estimated accuracy with its interval.

    Attributes:
        value: estimated share of correct predictions, 0 to 1.
        low: lower end of the interval.
        high: upper end of the interval.
        count: number of reviewed scans.
        count_cluster: number of patients with reviewed scans. A scan of an unknown patient counts as one patient.
    """

    value: float
    low: float
    high: float
    count: int
    count_cluster: int


@dataclass(frozen=True, kw_only=True)
class ReviewedScans:
    """Hold the reviewed scans of one period.

    Attributes:
        correct: (n,) 1 if the review agrees with the prediction, 0 if not.
        probability: (n,) probability with which the scan was selected for review, above 0.
        clusters: (n,) key of the patient, or of the scan if the patient is not known.
        confidence: (n,) probability of the predicted class, by the model.
    """

    correct: Floats
    probability: Floats
    clusters: Sequence[str]
    confidence: Floats


def estimate_accuracy(
    reviewed: ReviewedScans, all_confidences: Floats | None = None, *, confidence_level: float = 0.95
) -> Estimate | str:
    """Return the estimated accuracy on all scans of a period, or a text that says why there is no estimate.

    Without ``all_confidences``, the estimate is Hájek's weighted mean of the reviewed scans. With ``all_confidences``,
    the estimate is the mean confidence of all scans, corrected by its weighted mean error on the reviewed scans. The
    confidence is first multiplied by a factor from 0 to 1, fitted on the reviewed scans to minimize the variance. A
    confidence that says nothing about the accuracy gets a factor near 0, so it does no harm.

    The variance comes from a linear approximation of the estimate, with sums over clusters. The interval is a Wilson
    interval. Its number of observations is the number of independent scans that would have the same variance.

    Source: Särndal, Swensson and Wretman, "Model assisted survey sampling", 1992 (weights and variance). Angelopoulos,
    Duchi and Zrnic, "PPI++", arXiv 2311.01453 (the factor). Franco et al., "Comparative study of confidence intervals
    for proportions in complex sample surveys", Journal of Survey Statistics and Methodology 2019 (the interval).

    Args:
        reviewed: the reviewed scans.
        all_confidences: (N,) the model's confidence for every scan of the period, reviewed or not.
        confidence_level: probability with which the interval covers the accuracy.
    """
    keys, cluster = np.unique(reviewed.clusters, return_inverse=True)
    count = len(keys)
    if count < MINIMUM_CLUSTERS:
        return f"{count} patients or scans were reviewed, {MINIMUM_CLUSTERS} are required"
    weight = 1 / reviewed.probability / (1 / reviewed.probability).sum()
    factor, mean_confidence, scores_variance = 0.0, 0.0, 0.0
    if all_confidences is not None:
        factor = _factor(reviewed, weight, len(all_confidences))
        mean_confidence = float(all_confidences.mean())
        scores_variance = float(all_confidences.var() / len(all_confidences))
    error = reviewed.correct - factor * reviewed.confidence
    value = float(np.clip(factor * mean_confidence + weight @ error, 0, 1))
    by_cluster = np.bincount(cluster, weight * (error - weight @ error))
    variance = count / (count - 1) * float(by_cluster @ by_cluster) + factor**2 * scores_variance
    low, high = _wilson(value, variance, count, confidence_level)
    return Estimate(value=value, low=low, high=high, count=len(weight), count_cluster=count)


def monitor_wealth(correct: Floats, *, target: float) -> Floats:
    """Return the wealth from bets that the accuracy is below ``target``, after each reviewed patient or scan.

    The wealth starts at 1 and grows while predictions are wrong more often than ``target`` allows. If the accuracy is
    ``target`` or more, the probability that the wealth ever reaches 1 / a is at most a. The bound holds for all times
    together, so the wealth may be checked every night. For example, scans are counted over one year, and a wealth of 20
    raises an alarm. Then the probability of a false alarm in this year is at most 5%.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024.

    Args:
        correct: (..., n) share of correct predictions of each patient or scan, 0 to 1, oldest first.
        target: the smallest acceptable accuracy, above 0 and below 1.

    Returns:
        (..., n), the mean wealth of the bets. There is one bet for each of the drops ``DROPS``.
    """
    stakes = np.array([drop for drop in DROPS if drop < target]) / (target * (1 - target))
    gains = np.log1p(stakes * (target - correct[..., None]))  # (..., n, stakes)
    wealth: Floats = np.exp(gains.cumsum(axis=-2)).mean(axis=-1)
    return wealth


def _factor(reviewed: ReviewedScans, weight: Floats, count_all: int) -> float:
    """Return the factor (0 to 1) of the confidence that gives the estimate its smallest variance.

    ``weight`` (n,) has the weights of the reviewed scans, with sum 1. ``count_all`` is the number of all scans.
    """
    centered = reviewed.confidence - weight @ reviewed.confidence
    spread = weight @ centered**2
    if spread == 0:
        return 0.0
    slope = weight @ (centered * reviewed.correct) / spread
    return float(np.clip(slope / (1 + len(weight) / count_all), 0, 1))


def _wilson(value: float, variance: float, count: int, confidence_level: float) -> tuple[float, float]:
    binomial = value * (1 - value)
    size = binomial / variance if binomial > 0 and variance > 0 else count
    z = float(student.ppf((1 + confidence_level) / 2, count - 1))
    center = (value + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * np.sqrt(binomial / size + z * z / (4 * size * size))
    return max(0.0, float(center - half)), min(1.0, float(center + half))
