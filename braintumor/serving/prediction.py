"""From a graph's outputs to the answer that people read, with the reasons why a person should look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.model_input import PreparedScan
from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.artifact import Manifest
from braintumor.serving.audit_sample import is_audited
from braintumor.serving.backend import Outputs


class ReviewReason(StrEnum):
    """Why a frame belongs on the worklist.

    ``AUDIT_SAMPLE`` is in every row of 2% of the files, by chance, whatever the answer (see ``audit``).
    ``NOT_VALIDATED_ON_VOLUMES`` is in every row of a file with more than one frame: no model was judged by such.
    ``MODEL_WITHDRAWN`` is in no row: the view ``current_prediction`` adds it as long as the model is withdrawn. So is
    ``SAME_CONTENT_OTHER_PATIENT``: it stands on both scans that show the same picture, and comes first on a worklist.
    """

    LOW_CONFIDENCE = "low_confidence"
    NEAR_TIE = "near_tie"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    MODEL_DISAGREEMENT = "model_disagreement"
    AUDIT_SAMPLE = "audit_sample"
    NOT_VALIDATED_ON_VOLUMES = "not_validated_on_volumes"
    MODEL_WITHDRAWN = "model_withdrawn"
    SAME_CONTENT_OTHER_PATIENT = "same_content_other_patient"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one model says of one frame. For review, not for diagnosis.

    ``probabilities`` are in the order of ``CLASSES``. ``activation_map`` is float16 (S/32, S/32): the predicted
    class's logits by place. ``out_of_distribution`` is how far the frame is from the model's training images (see
    ``novelty``), ``None`` where the model has none to compare with. ``second`` is what another model named, and its
    confidence, where one was asked too. ``frame_index`` is the frame's place in its file.
    """

    predicted_class: TumorClass
    confidence: float
    margin: float
    probabilities: tuple[float, ...]
    activation_map: NDArray[np.float16]
    review_reasons: tuple[ReviewReason, ...]
    out_of_distribution: float | None = None
    second: tuple[TumorClass, float] | None = None
    frame_index: int = 0


def to_predictions(outputs: Outputs, manifest: Manifest, *, second: Outputs | None = None) -> Iterator[Prediction]:
    """One answer per frame, in order; ``second`` is what another model says of the same frames."""
    given = outputs.out_of_distribution
    scores = [None] * len(outputs.probability) if given is None else given.tolist()
    others = [None] * len(outputs.probability) if second is None else [_named(other) for other in second.probability]
    frames = zip(outputs.probability.astype(float), outputs.activation_map, scores, others, strict=True)
    for probability, maps, out_of_distribution, other in frames:
        best = int(probability.argmax())
        confidence = float(probability[best])
        margin = confidence - float(np.delete(probability, best).max())
        held = {
            ReviewReason.LOW_CONFIDENCE: confidence < manifest.low_confidence_below[CLASSES[best]],
            ReviewReason.NEAR_TIE: margin < manifest.near_tie_below,
            ReviewReason.OUT_OF_DISTRIBUTION: _is_outside(out_of_distribution, manifest),
            ReviewReason.MODEL_DISAGREEMENT: other is not None and other[0] is not CLASSES[best],
        }
        yield Prediction(
            predicted_class=CLASSES[best],
            confidence=confidence,
            margin=margin,
            probabilities=tuple(float(p) for p in probability),
            activation_map=maps[..., best].astype(np.float16),
            review_reasons=tuple(reason for reason, holds in held.items() if holds),
            out_of_distribution=out_of_distribution,
            second=other,
        )


def take_predictions(stream: Iterator[Prediction], scan: PreparedScan) -> tuple[Prediction, ...]:
    """Take the next answers of ``stream``: those of a scan's frames, with their places and the reasons of the scan."""
    held = {
        ReviewReason.NOT_VALIDATED_ON_VOLUMES: scan.is_volume,
        ReviewReason.AUDIT_SAMPLE: scan.content_sha256 is not None and is_audited(scan.content_sha256),
    }
    added = tuple(reason for reason, holds in held.items() if holds)
    return tuple(
        replace(answer, frame_index=index, review_reasons=(*answer.review_reasons, *added))
        for index, answer in zip(scan.indexes, stream, strict=False)
    )


def _named(probability: NDArray[np.float32]) -> tuple[TumorClass, float]:
    best = int(probability.argmax())
    return CLASSES[best], float(probability[best])


def _is_outside(score: float | None, manifest: Manifest) -> bool:
    bound = manifest.out_of_distribution_above
    return score is not None and bound is not None and score > bound
