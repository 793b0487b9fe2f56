"""Calibrate a model on the validation split: its temperature and the thresholds of the review reasons.

Temperature scaling follows Guo et al. 2017: one number makes confidence match the observed share of correct
predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from braintumor.labels import CLASSES
from braintumor.serving.artifact import REFERENCE
from braintumor.serving.out_of_distribution import Embeddings, distances, normalized

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
_TARGET_PRECISION = 0.95
"""Precision, per predicted class, that the predictions above the confidence threshold must reach."""
_MIN_THRESHOLD, _MAX_THRESHOLD = 0.60, 0.95
"""Bounds of the confidence threshold. Predictions below the threshold go to the reviewers' worklist.

The upper bound keeps a class that is often wrong from filling the worklist.
"""
_MIN_PREDICTIONS = 20
"""Minimum number of predictions of a class for which its confidence threshold is fitted.

With fewer predictions, the precision of the class is not reliable, so its threshold is the lower bound.
"""
_IN_DISTRIBUTION_SHARE = 0.995
"""Share of the validation images whose score is not above the out-of-distribution threshold.

With 430 validation images and 430 test images, more than 2% of the test images are flagged in 3% of cases. With a share
of 0.99, it would be 13% of cases. With fewer than 200 validation images, the threshold is the largest score.
"""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Hold the thresholds of the review reasons, which the manifest stores next to the temperature.

    Attributes:
        low_confidence_below: predicted class -> the confidence below which a prediction is reviewed.
        out_of_distribution_above: the out-of-distribution score above which a prediction is reviewed.
    """

    low_confidence_below: dict[str, float]
    out_of_distribution_above: float


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature T in 0.05..20 with the smallest mean negative log likelihood of logits / T.

    Args:
        logits: (N, 4), columns in the order of ``CLASSES``.
        labels: (N,) positions in ``CLASSES``.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, labels].mean())

    bounds = (np.log(_LOWEST_TEMPERATURE), np.log(_HIGHEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def fit_thresholds(
    folder: Path,
    *,
    reference: Embeddings,
    embeddings: Embeddings,
    logits: NDArray[np.float32],
    temperature: float,
    labels: NDArray[np.int64],
) -> Thresholds:
    """Return the thresholds fitted on the V validation images, and write ``reference.npy`` into ``folder``.

    Args:
        folder: the model folder.
        reference: embeddings (M, d) of training images, from the exported graph.
        embeddings: embeddings (V, d) of the validation images, from the exported graph.
        logits: (V, 4) of the validation images, not divided by ``temperature``.
        temperature: number by which the graph divides the logits.
        labels: (V,) positions in ``CLASSES``.
    """
    unit_reference = normalized(reference)
    np.save(folder / REFERENCE, unit_reference, allow_pickle=False)
    return Thresholds(
        low_confidence_below=_confidence_thresholds(softmax(logits / temperature, axis=1), labels),
        out_of_distribution_above=float(
            np.quantile(distances(embeddings, unit_reference), _IN_DISTRIBUTION_SHARE, method="higher")
        ),
    )


def _confidence_thresholds(probability: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return predicted class -> confidence threshold, from probabilities (N, 4) and labels (N,)."""
    predicted, confidence = probability.argmax(axis=1), probability.max(axis=1)
    is_correct = predicted == labels
    masks = {label.value: predicted == label.position for label in CLASSES}
    return {label: _confidence_threshold(confidence[mask], is_correct[mask]) for label, mask in masks.items()}


def _confidence_threshold(confidence: NDArray[np.float32], is_correct: NDArray[np.bool_]) -> float:
    """Return the lowest threshold above which the predictions reach the target precision, within the bounds.

    Args:
        confidence: (N,) of all predictions of one class.
        is_correct: (N,) for the same predictions.
    """
    if len(confidence) < _MIN_PREDICTIONS:
        return _MIN_THRESHOLD
    descending = np.argsort(-confidence, kind="stable")
    precision = is_correct[descending].cumsum() / np.arange(1, len(confidence) + 1)
    precise = np.flatnonzero(precision >= _TARGET_PRECISION)
    lowest = float(confidence[descending[precise[-1]]]) if len(precise) else _MAX_THRESHOLD
    return min(max(lowest, _MIN_THRESHOLD), _MAX_THRESHOLD)
