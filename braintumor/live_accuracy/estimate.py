"""Estimate the accuracy on all scans from reviewed scans.

Only few scans are reviewed. The probability with which a scan is selected for review is known, for example 0.02 in the
audit sample. The estimate weights each reviewed scan by the inverse of its selection probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

MINIMUM_CLUSTERS = 20
"""Smallest number of clusters of reviewed scans for an estimate. ``ReviewedScans`` defines the clusters."""
_LEVEL = 0.95
"""Probability with which an interval covers the accuracy."""
_NO_SPREAD = 1e-12
"""Largest variance of the confidence that is only rounding."""


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


@dataclass(frozen=True, kw_only=True)
class Confidences:
    """Hold the number of all scans of the period, and the mean and the variance of the model's confidence for them."""

    count: int
    mean: float
    variance: float


def estimate_accuracy(reviewed: ReviewedScans, of_all: Confidences | None = None) -> Estimate | str:
    """Return the estimated accuracy on all scans of a period, or a text that says why there is no estimate.

    Without ``of_all``, the estimate is Hájek's weighted mean of the reviewed scans. With ``of_all``, the estimate is
    the mean confidence of all scans, corrected by its weighted mean error on the reviewed scans. The confidence is
    first multiplied by a factor from 0 to 1, fitted on the reviewed scans to minimize the variance. A confidence that
    says nothing about the accuracy gets a factor near 0, so it does no harm.

    The variance comes from a linear approximation of the estimate, with sums over clusters. The interval is a 95%
    Wilson interval. Its number of observations is the number of independent scans that would have the same variance.

    Source: Särndal, Swensson and Wretman, "Model assisted survey sampling", 1992 (weights and variance). Angelopoulos,
    Duchi and Zrnic, "PPI++", arXiv 2311.01453 (the factor). Franco et al., "Comparative study of confidence intervals
    for proportions in complex sample surveys", Journal of Survey Statistics and Methodology 2019 (the interval).

    Args:
        reviewed: the reviewed scans.
        of_all: the model's confidence for all scans of the period, reviewed or not.
    """
    keys, cluster = np.unique(reviewed.clusters, return_inverse=True)
    count = len(keys)
    if count < MINIMUM_CLUSTERS:
        return f"{count} of {MINIMUM_CLUSTERS} required patients or scans have a finding"
    weight = 1 / reviewed.probability / (1 / reviewed.probability).sum()
    factor, mean, variance_of_mean = 0.0, 0.0, 0.0
    if of_all is not None:
        factor = _factor(reviewed, weight, of_all.count)
        mean, variance_of_mean = of_all.mean, of_all.variance / of_all.count
    error = reviewed.correct - factor * reviewed.confidence
    value = float(np.clip(factor * mean + weight @ error, 0, 1))
    by_cluster = np.bincount(cluster, weight * (error - weight @ error))
    variance = count / (count - 1) * float(by_cluster @ by_cluster) + factor**2 * variance_of_mean
    low, high = _wilson(value, variance, count)
    return Estimate(value=value, low=low, high=high, count=len(weight), count_cluster=count)


def difference_interval(first: Estimate, second: Estimate) -> tuple[float, float]:
    """Return the interval of the difference ``first`` - ``second`` of two independent estimates, from their intervals.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    1998, method 10. Zou and Donner, Statistics in Medicine 2008, extend it to estimates with other intervals.
    """
    difference = first.value - second.value
    low = difference - float(np.hypot(first.value - first.low, second.high - second.value))
    return low, difference + float(np.hypot(first.high - first.value, second.value - second.low))


def _factor(reviewed: ReviewedScans, weight: Floats, count_all: int) -> float:
    """Return the factor (0 to 1) of the confidence that gives the estimate its smallest variance.

    ``weight`` (n,) has the weights of the reviewed scans, with sum 1. ``count_all`` is the number of all scans.
    """
    centered = reviewed.confidence - weight @ reviewed.confidence
    spread = weight @ centered**2
    if spread < _NO_SPREAD:
        return 0.0
    slope = weight @ (centered * reviewed.correct) / spread
    return float(np.clip(slope / (1 + len(weight) / count_all), 0, 1))


def _wilson(value: float, variance: float, count: int) -> tuple[float, float]:
    from scipy.special import stdtrit  # its import takes 0.2 s at the start of each task `score`, which needs none

    binomial = value * (1 - value)
    size = binomial / variance if binomial > 0 and variance > 0 else count
    z = float(stdtrit(count - 1, (1 + _LEVEL) / 2))  # quantile of Student's t distribution
    center = (value + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * np.sqrt(binomial / size + z * z / (4 * size * size))
    return max(0.0, float(center - half)), min(1.0, float(center + half))
