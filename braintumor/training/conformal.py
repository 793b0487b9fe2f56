"""Fit the thresholds of prediction sets by class-conditional (Mondrian) split conformal prediction.

The score of an image is the probability of its class (Sadinle, Lei and Wasserman, "Least ambiguous set-valued
classifiers with bounded error levels", JASA 2019). Each class has its own threshold, from the images of the class
(Vovk, Lindsay, Nouretdinov and Gammerman, "Mondrian confidence machine", 2003).

The images of one patient are not independent, but the patients are exchangeable. So each image has the weight 1 /
(number of images of its class in its group). The new group counts as one more group, whose image may have any score
(Lee, Barber and Willett, "Distribution-free inference with hierarchical data", arXiv 2306.06342).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES
from braintumor.serving.prediction_set import SetThresholds

COVERAGE = 0.95
"""Target: the share of each class's images of new groups whose set contains the class."""
_HIGHEST_THRESHOLD = 0.95
"""Upper bound of a threshold. It keeps a class that is almost always recognized from having many empty sets.

A lower threshold can only raise the coverage.
"""
_ROUNDING = 1e-9


def fit_sets(
    probability: NDArray[np.floating],
    labels: NDArray[np.int64],
    groups: Sequence[str],
    *,
    coverage: float = COVERAGE,
    fitted_on: str = "validation",
) -> SetThresholds | None:
    """Return the thresholds fitted on N images, or ``None`` if a class has no image.

    With K groups, the largest coverage that a threshold can guarantee is K / (K + 1). If this is less than
    ``coverage``, the threshold is the lowest probability of the class in its images.

    Args:
        probability: (N, 4), columns in the order of ``CLASSES``. No image may have trained the model.
        labels: (N,) positions in ``CLASSES``.
        groups: (N,) key of each image's group. Images of one patient have the same key.
        coverage: the target, between 0 and 1.
        fitted_on: name of the images, for reports.
    """
    keys = np.asarray(groups)
    lowest, counts = {}, {}
    for label in CLASSES:
        of_class = labels == label.position
        if not of_class.any():
            return None
        threshold = _threshold(probability[of_class, label.position], keys[of_class], coverage)
        lowest[label.value] = min(threshold, _HIGHEST_THRESHOLD)
        counts[label.value] = len(np.unique(keys[of_class]))
    return SetThresholds(coverage=coverage, lowest_probability=lowest, count_group=counts, fitted_on=fitted_on)


def _threshold(probability: NDArray[np.floating], groups: NDArray[np.str_], coverage: float) -> float:
    """Return the highest threshold that keeps the share ``coverage`` of the weights, or else the lowest probability."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    descending = np.argsort(-probability, kind="stable")
    kept = (1 / sizes[group][descending]).cumsum() / (len(sizes) + 1)
    enough = np.flatnonzero(kept >= coverage - _ROUNDING)
    return float(probability[descending[enough[0] if len(enough) else -1]])
