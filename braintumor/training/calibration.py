"""Which answers are put before a person: thresholds fitted on what the model says of the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from braintumor.labels import CLASSES
from braintumor.serving.artifact import REFERENCE
from braintumor.serving.out_of_distribution import Embeddings, distances, normalized

_RIGHT = 0.95
"""Of the answers that name a class and are not put before a person, so many are to be right."""
_LEAST, _MOST = 0.60, 0.95
"""Below 0.60 every answer is doubtful; from 0.95 none is, or a class that is often wrong would all be on the list."""
_FEWEST = 20
"""With fewer answers that name a class, its share of right ones says little: 0.60 it is."""
_INSIDE = 0.995
"""Of the validation images, the share that is not above the threshold. Of 430 test images, with 430 to fit on, more
than 2% are then flagged in 3% of cases; at 0.99 it would be 13%. With fewer than 200 it is the largest score."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What goes into the manifest beside the temperature."""

    low_confidence_below: dict[str, float]
    out_of_distribution_above: float


def fit_thresholds(
    folder: Path,
    *,
    reference: Embeddings,
    embeddings: Embeddings,
    logits: NDArray[np.float32],
    temperature: float,
    labels: NDArray[np.int64],
) -> Thresholds:
    """Write the model's ``reference.npy`` into ``folder``, and fit every threshold on the V validation images.

    Args:
        folder: the model's.
        reference: (M, d), of training images, from the graph that will serve.
        embeddings: (V, d), of validation.
        logits: (V, 4), before ``temperature``.
        temperature: what the graph divides them by.
        labels: (V,).
    """
    of_length_1 = normalized(reference)
    np.save(folder / REFERENCE, of_length_1, allow_pickle=False)
    return Thresholds(
        low_confidence_below=_by_class(softmax(logits / temperature, axis=1), labels),
        out_of_distribution_above=float(np.quantile(distances(embeddings, of_length_1), _INSIDE, method="higher")),
    )


def _by_class(probability: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """For each class, the confidence below which answers that name it are doubtful."""
    named, confidence = probability.argmax(axis=1), probability.max(axis=1)
    is_right = named == labels
    by_label = {label.value: named == label.position for label in CLASSES}
    return {label: _doubtful_below(confidence[mask], is_right[mask]) for label, mask in by_label.items()}


def _doubtful_below(confidence: NDArray[np.float32], is_right: NDArray[np.bool_]) -> float:
    """The lowest confidence from which on 95% of the answers are right, within the bounds."""
    if len(confidence) < _FEWEST:
        return _LEAST
    surest_first = np.argsort(-confidence, kind="stable")
    share_right = is_right[surest_first].cumsum() / np.arange(1, len(confidence) + 1)
    enough = np.flatnonzero(share_right >= _RIGHT)
    lowest = float(confidence[surest_first[enough[-1]]]) if len(enough) else _MOST
    return min(max(lowest, _LEAST), _MOST)
