"""How far confidence is from accuracy, bin by bin.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_BINS = 15
"""As in Guo et al."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """The images whose confidence (probability of the predicted class) lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def calibration_bins(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = DEFAULT_BINS
) -> tuple[CalibrationBin, ...]:
    """Equal-width bins of confidence, empty ones left out.

    Args:
        labels: (N,) positions in ``CLASSES``.
        probabilities: (N, 4).
        bins: how many between 0 and 1.
    """
    confidence = np.asarray(probabilities, dtype=np.float64).max(axis=1)  # (N,)
    correct = np.asarray(probabilities).argmax(axis=1) == labels  # (N,)
    position = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (N,)
    return tuple(
        CalibrationBin(
            low=index / bins,
            high=(index + 1) / bins,
            count=int((position == index).sum()),
            confidence=float(confidence[position == index].mean()),
            accuracy=float(correct[position == index].mean()),
        )
        for index in np.unique(position).tolist()
    )


def expected_calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Mean distance between confidence and accuracy, each bin weighted by its images; 0 is perfect."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total
