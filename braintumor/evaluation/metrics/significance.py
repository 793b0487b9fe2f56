"""Test the significance of the difference between two models on the same test images.

Only the images that exactly one of the two models predicts correctly affect the test. ``mcnemar`` tests whether the
candidate loses more of these images than expected by chance. The bootstrap interval bounds the change of accuracy.

>>> comparison = paired_test(PredictionPair(candidate=candidate, champion=champion))
>>> comparison.change, comparison.low, comparison.high
(-0.0047, -0.0256, 0.0163)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.stats import beta, binomtest

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.classification import LEVEL, wilson_interval
from braintumor.labels import TumorClass

RESAMPLES = 10_000
_BEYOND, _MOST_RESAMPLES = 50, 1_000_000
"""Wanted number of resamples outside each end of an interval, and the largest total number of resamples.

A higher confidence needs more resamples in total, because a smaller share of them is outside the interval.
"""
SEED = 20_261_123
"""Fixed, so that the same predictions always give the same verdict."""
CONFIDENCE = 0.95
"""One-sided confidence of each end of the interval, for example that the true change is above the lower end."""


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """Hold a model's prediction for one test image.

    Attributes:
        label: the true class.
        predicted: the predicted class.
        group_key: name of the image's group. Images of one patient and near-duplicates have the same name.
        has_patient: whether the patient is known.
        probabilities: probability of each class, in the order of ``CLASSES``. Empty if not given.
    """

    label: TumorClass
    predicted: TumorClass
    group_key: str
    has_patient: bool = False
    probabilities: tuple[float, ...] = ()

    @property
    def is_correct(self) -> bool:
        """Return whether the predicted class is the label."""
        return self.predicted is self.label


ImagePredictions = Mapping[str, ImagePrediction]
"""Sha256 of the image -> prediction."""


@dataclass(frozen=True, kw_only=True)
class PredictionPair:
    """Hold the predictions of a candidate and of the champion for all images of their evaluations."""

    candidate: ImagePredictions
    champion: ImagePredictions


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Hold the difference between a candidate and the champion on the same images.

    Attributes:
        count: number of images.
        count_group: number of groups of related images.
        lost: number of images that only the champion predicts correctly.
        gained: number of images that only the candidate predicts correctly.
        low: lower end of the interval of ``change``, from ``change_interval``.
        high: upper end of the interval of ``change``, from ``change_interval``.
        p_worse: p value of McNemar's test whether the candidate is worse, as ``mcnemar`` returns it.
    """

    count: int
    count_group: int
    lost: int
    gained: int
    low: float
    high: float
    p_worse: float

    @property
    def change(self) -> float:
        """Return the candidate's accuracy minus the champion's."""
        return (self.gained - self.lost) / self.count


def difference_of_images(pair: PredictionPair) -> str:
    """Return a text that says how the images or labels of the two models differ, or an empty text if they do not."""
    ours, theirs = pair.candidate.keys(), pair.champion.keys()
    counts = {
        "only the candidate predicted": len(ours - theirs),
        "only the champion predicted": len(theirs - ours),
        "differ in their label": sum(
            pair.candidate[image].label is not pair.champion[image].label for image in ours & theirs
        ),
    }
    return ", ".join(f"{count} images {words}" for words, count in counts.items() if count)


def paired_test(pair: PredictionPair, *, confidence: float = CONFIDENCE) -> PairedTest:
    """Return the paired test of the candidate against the champion.

    Args:
        pair: the predictions of both models.
        confidence: one-sided confidence of each end of the interval, 0.5 to 1.

    Raises:
        EvaluationError: the predictions are for different images or labels, or there are no predictions.
    """
    difference = difference_of_images(pair)
    if difference or not pair.candidate:
        raise EvaluationError(
            f"Only predictions for the same images can be compared. Received: {difference or 'no predictions'}. "
            "Evaluate both models on one snapshot."
        )
    grouped: defaultdict[str, list[int]] = defaultdict(list)
    for image, prediction in pair.candidate.items():
        change = int(prediction.is_correct) - int(pair.champion[image].is_correct)
        grouped[prediction.group_key].append(change)
    groups = Counter((sum(changes), len(changes)) for changes in grouped.values())
    lost, gained = (sum(changes.count(change) for changes in grouped.values()) for change in (-1, 1))
    low, high = change_interval(groups, confidence=confidence)
    return PairedTest(
        count=len(pair.candidate),
        count_group=groups.total(),
        lost=lost,
        gained=gained,
        low=low,
        high=high,
        p_worse=mcnemar(lost=lost, gained=gained),
    )


def mcnemar(*, lost: int, gained: int) -> float:
    """Return the p value of McNemar's exact one-sided test.

    The p value is the probability that equal models lose ``lost`` or more of ``lost + gained`` images by chance.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947. The exact test uses the binomial distribution.

    Args:
        lost: number of images that only the champion predicts correctly.
        gained: number of images that only the candidate predicts correctly.
    """
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, alternative="greater").pvalue)


@dataclass(frozen=True, kw_only=True)
class ClusteredAccuracy:
    """Hold a model's test accuracy with a 95% interval that keeps the images of one patient together.

    Attributes:
        count: number of images.
        count_known: number of images whose patient is known.
        count_cluster: number of clusters. A cluster has the images of one patient, or near-duplicates.
        accuracy: share of images with a correct prediction.
        low: lower end of the interval, from ``clustered_interval``.
        high: upper end of the interval, from ``clustered_interval``.
    """

    count: int
    count_known: int
    count_cluster: int
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, predictions: Collection[ImagePrediction]) -> Self:
        """Return the accuracy of one or more predictions. Images with the same ``group_key`` are one cluster."""
        hits = [each.is_correct for each in predictions]
        clusters = [each.group_key for each in predictions]
        low, high = clustered_interval(hits, clusters)
        return cls(
            count=len(hits),
            count_known=sum(each.has_patient for each in predictions),
            count_cluster=len(set(clusters)),
            accuracy=sum(hits) / len(hits),
            low=low,
            high=high,
        )


def clustered_interval(hits: Iterable[bool], clusters: Iterable[Hashable]) -> tuple[float, float]:
    """Return the two-sided 95% interval (low, high) of the accuracy, from a bootstrap over clusters of images.

    Images of one patient get similar predictions. An interval that treats them as independent is too narrow. The
    bootstrap draws whole clusters with replacement, 10,000 times with a fixed seed.

    If all clusters have the same accuracy, for example 1, no resample differs. The function then returns the Wilson
    interval of this accuracy, with the number of clusters as the number of observations.

    Source: Field and Welsh, "Bootstrapping clustered data", JRSS B 2007. The ends are percentiles.

    >>> clustered_interval([True, True, False, True], ["patient 1", "patient 1", "patient 2", "patient 3"])
    (0.0, 1.0)

    Args:
        hits: for each image, whether the prediction is correct.
        clusters: for each image, the name of its cluster: the patient, or the group of an image without a patient.

    Raises:
        EvaluationError: there is no image, or the numbers of hits and clusters differ.
    """
    hits, clusters = [bool(hit) for hit in hits], list(clusters)
    if not hits or len(hits) != len(clusters):
        raise EvaluationError(
            "A clustered interval needs one cluster for each of one or more images. "
            f"Received: {len(hits)} images and {len(clusters)} clusters. Pass two sequences of equal length."
        )
    by_cluster: defaultdict[Hashable, list[bool]] = defaultdict(list)
    for hit, cluster in zip(hits, clusters, strict=True):
        by_cluster[cluster].append(hit)
    accuracy = sum(hits) / len(hits)
    if all(sum(members) * len(hits) == len(members) * sum(hits) for members in by_cluster.values()):
        return wilson_interval(accuracy * len(by_cluster), len(by_cluster))
    groups = Counter((sum(members), len(members)) for members in by_cluster.values())
    return bootstrap_interval(groups, confidence=(1 + LEVEL) / 2)


def change_interval(
    groups: Mapping[tuple[int, int], int], *, confidence: float = CONFIDENCE, resamples: int | None = None
) -> tuple[float, float]:
    """Return the interval (low, high) of the change in accuracy, from a bootstrap and an exact bound.

    A bootstrap draws only changes that occurred. With few of them its lower end is too high: without any it is 0, even
    with 20 groups. Therefore the lower end is at most that of Clopper-Pearson limits. They count the groups that lose
    all their images and those that gain all, of which the smaller number is subtracted from the larger one. Without
    gains the limit is exact.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 1934.

    Args:
        groups: (images gained minus images lost, images in the group) -> number of such groups.
        confidence: one-sided confidence of each end, 0.5 to 1.
        resamples: number of resamples. By default ``resamples_for(confidence)``.
    """
    low, high = bootstrap_interval(groups, confidence=confidence, resamples=resamples)
    count = sum(groups.values())
    net = sum(number * (change // size) for (change, size), number in groups.items() if abs(change) == size)
    lost, gained = max(-net, 0), max(net, 0)
    most_lost = 1.0 if lost == count else float(beta.ppf(confidence, lost + 1, count - lost))
    least_gained = float(beta.ppf(1 - confidence, gained, count - gained + 1)) if gained else 0.0
    return min(low, least_gained - most_lost), high


def bootstrap_interval(
    groups: Mapping[tuple[int, int], int], *, confidence: float = CONFIDENCE, resamples: int | None = None
) -> tuple[float, float]:
    """Return the percentile interval (low, high) of the change in accuracy, from a bootstrap over groups of images.

    Neighboring slices of one head get similar predictions and are not independent, so a group is resampled as a whole.
    Groups with the same size and change are interchangeable, so each resample draws only the number of each such kind.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.

    Args:
        groups: (images gained minus images lost, images in the group) -> number of such groups.
        confidence: one-sided confidence of each end, 0.5 to 1.
        resamples: number of resamples. By default ``resamples_for(confidence)``.
    """
    kinds = sorted(groups)  # a fixed order, so that one seed gives one interval
    count = np.array([groups[kind] for kind in kinds])
    change, size = np.array(kinds).T
    random = np.random.default_rng(SEED)
    drawn = random.multinomial(
        count.sum(), count / count.sum(), size=resamples or resamples_for(confidence)
    )  # (R, kinds)
    low, high = np.quantile((drawn @ change) / (drawn @ size), [1 - confidence, confidence])
    return float(low), float(high)


def resamples_for(confidence: float) -> int:
    """Return the number of resamples that an interval of this one-sided confidence needs."""
    return min(max(RESAMPLES, math.ceil(_BEYOND / (1 - confidence))), _MOST_RESAMPLES)
