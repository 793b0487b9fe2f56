"""Return the prediction set of each frame: the classes that its probabilities do not rule out.

The thresholds of the classes come from split conformal prediction (``braintumor.training.conformal``). The set of a new
frame contains the true class with the probability ``coverage``, for each class. The set may be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES, TumorClass


@dataclass(frozen=True, kw_only=True)
class SetThresholds:
    """Hold the thresholds of a model's prediction sets.

    Attributes:
        coverage: the target: the probability, for each class, with which a set contains the class of an image of a new
            group. Images of one patient are one group, and so are near-duplicates. Few groups guarantee less.
        lowest_probability: class -> the lowest probability with which a set contains the class.
        count_group: class -> number of groups with an image of the class, to which the threshold was fitted.
        fitted_on: the images of the fit: ``validation`` or ``audit sample``.
    """

    coverage: float
    lowest_probability: dict[str, float]
    count_group: dict[str, int]
    fitted_on: str = "validation"

    def guaranteed(self, label: str) -> float:
        """Return the coverage that the K groups of a class guarantee: the target, or K / (K + 1) if lower."""
        count = self.count_group[label]
        return min(self.coverage, count / (count + 1))

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """Return the thresholds from plain values, as ``dataclasses.asdict`` makes them.

        Raises ``KeyError`` if a class is missing, and ``TypeError`` or ``ValueError`` if a value is not a number.
        """
        return cls(
            coverage=float(values["coverage"]),
            lowest_probability={label.value: float(values["lowest_probability"][label]) for label in CLASSES},
            count_group={label.value: int(values["count_group"][label]) for label in CLASSES},
            fitted_on=str(values["fitted_on"]),
        )

    def contains(self, probability: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which classes the sets contain, bool (N, 4), for probabilities (N, 4) in the order of ``CLASSES``.

        A set that is not empty also contains the class of the highest probability. This can only raise the coverage. So
        a set of one class is the predicted class.
        """
        inside: NDArray[np.bool_] = probability >= np.array([self.lowest_probability[label] for label in CLASSES])
        rows = np.arange(len(probability))
        inside[rows, probability.argmax(axis=1)] |= inside.any(axis=1)
        return inside

    def sets(self, probability: NDArray[np.floating]) -> list[tuple[TumorClass, ...]]:
        """Return the sets that ``contains`` computes, each as a tuple of its classes in the order of ``CLASSES``."""
        inside = self.contains(probability).tolist()
        return [tuple(label for label, holds in zip(CLASSES, row, strict=True) if holds) for row in inside]
