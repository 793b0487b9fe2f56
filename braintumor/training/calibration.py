"""Calibrate a model on the validation split: its temperature and the thresholds of the review reasons.

Temperature scaling follows Guo et al. 2017: one number makes confidence match the observed share of correct
predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from braintumor.serving.artifact import REFERENCE
from braintumor.serving.out_of_distribution import Embeddings, distances, normalized
from braintumor.serving.prediction_set import SetThresholds
from braintumor.training.conformal import fit_sets

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
_IN_DISTRIBUTION_SHARE = 0.995
"""Share of the validation images whose score is not above the out-of-distribution threshold.

With 430 validation images and 430 test images, more than 2% of the test images are flagged in 3% of cases. With a share
of 0.99, it would be 13% of cases. With fewer than 200 validation images, the threshold is the largest score.
"""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Hold the thresholds of the review reasons, which the manifest stores next to the temperature.

    Attributes:
        prediction_sets: thresholds of the prediction sets. ``None`` if validation has no image of a class.
        out_of_distribution_above: the out-of-distribution score above which a prediction is reviewed.
    """

    prediction_sets: SetThresholds | None
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
    probability: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: Sequence[str],
) -> Thresholds:
    """Return the thresholds fitted on the V validation images, and write ``reference.npy`` into ``folder``.

    Args:
        folder: the model folder.
        reference: embeddings (M, d) of training images, from the exported graph.
        embeddings: embeddings (V, d) of the validation images, from the exported graph.
        probability: (V, 4) of the validation images, after temperature scaling.
        labels: (V,) positions in ``CLASSES``.
        groups: (V,) key of the group of each validation image.
    """
    unit_reference = normalized(reference)
    np.save(folder / REFERENCE, unit_reference, allow_pickle=False)
    return Thresholds(
        prediction_sets=fit_sets(probability, labels, groups),
        out_of_distribution_above=float(
            np.quantile(distances(embeddings, unit_reference), _IN_DISTRIBUTION_SHARE, method="higher")
        ),
    )
