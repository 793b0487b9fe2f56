"""Measure the difference between confidence and accuracy, bin by bin.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from braintumor.errors import EvaluationError
from braintumor.labels import CLASSES

DEFAULT_BINS = 15
"""Number of bins between 0 and 1, as in Guo et al."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Describe the images with a confidence in (low, high]. Confidence is the probability of the predicted class.

    Attributes:
        low: lower end of the bin, not included.
        high: upper end of the bin, included.
        count: number of images.
        confidence: mean confidence of the images.
        accuracy: share of the images with a correct prediction.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def calibration_bins(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = DEFAULT_BINS
) -> tuple[CalibrationBin, ...]:
    """Return the equal-width bins of confidence that contain images, lowest first.

    Args:
        labels: (N,) positions in ``CLASSES``.
        probabilities: (N, 4), columns in the order of ``CLASSES``.
        bins: number of bins between 0 and 1.
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
    """Return the mean of abs(accuracy - confidence) over the bins, weighted by number of images. 0 is perfect."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / total


def uncalibrated_probabilities(activation_map: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities (N, 4) before temperature scaling. Rows sum to 1.

    Args:
        activation_map: output of the served graph, (N, h, w, 4): image, row, column, class. The mean over rows and
            columns is the logit before temperature scaling.

    Raises:
        EvaluationError: ``activation_map`` has another shape.
    """
    if activation_map.ndim != 4 or activation_map.shape[-1] != len(CLASSES):  # noqa: PLR2004
        raise EvaluationError(
            f"Activation maps must have the shape (N, h, w, {len(CLASSES)}). Received: {activation_map.shape}. "
            "Pass the served graph's output activation_map."
        )
    chances: NDArray[np.float64] = softmax(activation_map.mean(axis=(1, 2), dtype=np.float64), axis=1)
    return chances
