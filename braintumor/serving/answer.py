"""From a graph's outputs to the answer that people read, with the reasons why a person should look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.artefact import Manifest
from braintumor.serving.engine import Outputs


class ReviewReason(StrEnum):
    """Why a frame belongs on the worklist.

    ``MODEL_WITHDRAWN`` is in no row: the view ``latest_prediction`` adds it as long as the model is withdrawn.
    """

    LOW_CONFIDENCE = "low_confidence"
    NEAR_TIE = "near_tie"
    MODEL_WITHDRAWN = "model_withdrawn"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model says of one frame. For review, not for diagnosis.

    ``probabilities`` are in the order of ``CLASSES``. ``activation_map`` is float16 (S/32, S/32): the predicted
    class's logits by place.
    """

    predicted_class: TumorClass
    confidence: float
    margin: float
    probabilities: tuple[float, ...]
    activation_map: NDArray[np.float16]
    review_reasons: tuple[ReviewReason, ...]


def answers(outputs: Outputs, manifest: Manifest) -> Iterator[Answer]:
    """One answer per frame, in order."""
    for probability, maps in zip(outputs.probability.astype(float), outputs.activation_map, strict=True):
        best = int(probability.argmax())
        confidence = float(probability[best])
        margin = confidence - float(np.delete(probability, best).max())
        yield Answer(
            predicted_class=CLASSES[best],
            confidence=confidence,
            margin=margin,
            probabilities=tuple(float(p) for p in probability),
            activation_map=maps[..., best].astype(np.float16),
            review_reasons=_reasons(confidence, margin, manifest),
        )


def _reasons(confidence: float, margin: float, manifest: Manifest) -> tuple[ReviewReason, ...]:
    held = {
        ReviewReason.LOW_CONFIDENCE: confidence < manifest.low_confidence_below,
        ReviewReason.NEAR_TIE: margin < manifest.near_tie_below,
    }
    return tuple(reason for reason, holds in held.items() if holds)
