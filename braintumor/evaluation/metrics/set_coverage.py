"""Measure the coverage of prediction sets: how often a set contains the true class, by class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from braintumor.evaluation.metrics.classification import wilson_interval
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.metrics.significance import ImagePrediction
from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.prediction_set import SetThresholds


@dataclass(frozen=True, kw_only=True)
class SetCoverage:
    """Hold the coverage of the sets of one class's images. Each group counts once, with the mean of its images.

    Attributes:
        label: the true class of the images.
        count_group: number of groups with an image of the class.
        share: share of the images whose set contains the class, ``None`` with fewer than ``MINIMUM_GROUPS`` groups.
        interval: 95% Wilson interval (low, high) of ``share``, with the groups as observations. It is wider than
            necessary if the images of a group differ. ``None`` with fewer than ``MINIMUM_GROUPS`` groups.
        mean_size: mean number of classes in a set. NaN without images.
        share_one: share of the images whose set has exactly one class. NaN without images.
    """

    label: TumorClass
    count_group: int
    share: float | None
    interval: tuple[float, float] | None
    mean_size: float
    share_one: float


def set_coverage(
    inside: NDArray[np.bool_], labels: NDArray[np.int64], groups: Sequence[str]
) -> tuple[SetCoverage, ...]:
    """Return the coverage for each class, in the order of ``CLASSES``.

    Args:
        inside: (N, 4) whether the set of an image contains a class, in the order of ``CLASSES``.
        labels: (N,) positions in ``CLASSES``.
        groups: (N,) key of each image's group. Images of one patient have the same key.
    """
    keys = np.asarray(groups)
    return tuple(
        _of_class(label, inside[labels == label.position], keys[labels == label.position]) for label in CLASSES
    )


def coverage_of(thresholds: SetThresholds, predictions: Collection[ImagePrediction]) -> tuple[SetCoverage, ...]:
    """Return how often the prediction sets contain the true class, for each class in the order of ``CLASSES``.

    ``predictions`` has one prediction or more.
    """
    inside = thresholds.contains(np.array([each.probabilities for each in predictions]))
    labels = np.array([each.label.position for each in predictions])
    return set_coverage(inside, labels, [each.group_key for each in predictions])


def _of_class(label: TumorClass, inside: NDArray[np.bool_], groups: NDArray[np.str_]) -> SetCoverage:
    covered, size = inside[:, label.position], inside.sum(axis=1)
    count = len(np.unique(groups))
    is_assessed = count >= MINIMUM_GROUPS
    share = mean_over_groups(covered, groups)
    return SetCoverage(
        label=label,
        count_group=count,
        share=share if is_assessed else None,
        interval=wilson_interval(share * count, count) if is_assessed else None,
        mean_size=mean_over_groups(size, groups),
        share_one=mean_over_groups(size == 1, groups),
    )


def mean_over_groups(values: NDArray[np.generic], groups: NDArray[np.generic]) -> float:
    """Return the mean over groups of the mean of each group's values (N,). NaN without values."""
    if not len(values):
        return float("nan")
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return float((np.bincount(group, values.astype(float)) / sizes).mean())
