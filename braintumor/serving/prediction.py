"""Turn the outputs of a model into predictions with review reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.model_input import PreparedScan
from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.artifact import Manifest
from braintumor.serving.audit_sample import is_audited
from braintumor.serving.backend import LoadedModel, Outputs


class ReviewReason(StrEnum):
    """The reasons for which a frame is on the worklist.

    ``AUDIT_SAMPLE`` applies to every frame of a random 2% of the files. ``NOT_VALIDATED_ON_VOLUMES`` applies to every
    frame of a file with several frames, because no model was evaluated on volumes.

    ``SEVERAL_CLASSES`` means that the prediction set has several classes, and ``NO_LIKELY_CLASS`` that it is
    empty. A model without prediction sets gives neither.

    The view ``current_prediction`` adds two reasons that the table ``prediction`` does not store. ``MODEL_WITHDRAWN``
    applies while the model is withdrawn. ``SAME_CONTENT_OTHER_PATIENT`` applies to two scans of different patients with
    the same image.
    """

    SEVERAL_CLASSES = "several_classes"
    NO_LIKELY_CLASS = "no_likely_class"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    MODEL_DISAGREEMENT = "model_disagreement"
    AUDIT_SAMPLE = "audit_sample"
    NOT_VALIDATED_ON_VOLUMES = "not_validated_on_volumes"
    MODEL_WITHDRAWN = "model_withdrawn"
    SAME_CONTENT_OTHER_PATIENT = "same_content_other_patient"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction of one model for one frame. It is for review, not for diagnosis.

    Attributes:
        confidence: the highest probability, 0 to 1.
        margin: the highest probability minus the second highest probability.
        probabilities: one probability per class, in the order of ``CLASSES``.
        activation_map: float16 (S/32, S/32): row, column. Logits of the predicted class. S is the model's image size.
        prediction_set: the classes that the probabilities do not rule out, in the order of ``CLASSES``. It may be
            empty. ``None`` if the model has no prediction sets.
        out_of_distribution: distance from the training images. ``None`` if the model has no reference embeddings.
        second: predicted class and confidence of a second model. ``None`` if the run has no second model.
        frame_index: position of the frame in its file, from 0.
    """

    predicted_class: TumorClass
    confidence: float
    margin: float
    probabilities: tuple[float, ...]
    activation_map: NDArray[np.float16]
    review_reasons: tuple[ReviewReason, ...]
    prediction_set: tuple[TumorClass, ...] | None = None
    out_of_distribution: float | None = None
    second: tuple[TumorClass, float] | None = None
    frame_index: int = 0


def to_predictions(outputs: Outputs, manifest: Manifest, *, second: Outputs | None = None) -> Iterator[Prediction]:
    """Yield one prediction per frame, in the order of the frames.

    ``manifest`` has the thresholds of the review reasons. ``second`` are a second model's outputs for the same frames.
    """
    distances = outputs.out_of_distribution
    scores = [None] * len(outputs.probability) if distances is None else distances.tolist()
    others = [None] * len(outputs.probability) if second is None else [_top_class(row) for row in second.probability]
    thresholds = manifest.prediction_sets
    sets = [None] * len(outputs.probability) if thresholds is None else thresholds.sets(outputs.probability)
    frames = zip(outputs.probability.astype(float), outputs.activation_map, sets, scores, others, strict=True)
    for probability, maps, classes, out_of_distribution, other in frames:
        best = int(probability.argmax())
        confidence = float(probability[best])
        margin = confidence - float(np.delete(probability, best).max())
        reasons = {
            ReviewReason.SEVERAL_CLASSES: classes is not None and len(classes) > 1,
            ReviewReason.NO_LIKELY_CLASS: classes is not None and not classes,
            ReviewReason.OUT_OF_DISTRIBUTION: _is_outside(out_of_distribution, manifest),
            ReviewReason.MODEL_DISAGREEMENT: other is not None and other[0] is not CLASSES[best],
        }
        yield Prediction(
            predicted_class=CLASSES[best],
            confidence=confidence,
            margin=margin,
            probabilities=tuple(float(p) for p in probability),
            activation_map=maps[..., best].astype(np.float16),
            review_reasons=tuple(reason for reason, applies in reasons.items() if applies),
            prediction_set=classes,
            out_of_distribution=out_of_distribution,
            second=other,
        )


def submit_scans(
    model: LoadedModel, scans: Sequence[PreparedScan], *, second: LoadedModel | None = None
) -> Callable[[], list[tuple[Prediction, ...]]]:
    """Start the prediction of all frames of several scans, and return a function that waits for the predictions.

    The function returns one tuple per scan, with one prediction per frame. With a ``second`` model, each prediction
    also has the class and confidence of that model.
    """
    if not scans:
        return lambda: []
    pixels = np.concatenate([scan.pixels for scan in scans])
    outputs, second_outputs = model.submit(pixels), second.submit(pixels) if second else None

    def predictions() -> list[tuple[Prediction, ...]]:
        frames = list(to_predictions(outputs(), model.manifest, second=second_outputs() if second_outputs else None))
        ends = list(accumulate(len(scan.indexes) for scan in scans))
        return [
            scan_predictions(frames[end - len(scan.indexes) : end], scan) for scan, end in zip(scans, ends, strict=True)
        ]

    return predictions


def scan_predictions(predictions: Sequence[Prediction], scan: PreparedScan) -> tuple[Prediction, ...]:
    """Return the predictions of a scan's frames, with added frame indexes, and added review reasons of the scan."""
    is_held = {
        ReviewReason.NOT_VALIDATED_ON_VOLUMES: scan.is_volume,
        ReviewReason.AUDIT_SAMPLE: scan.content_sha256 is not None and is_audited(scan.content_sha256),
    }
    added = tuple(reason for reason, holds in is_held.items() if holds)
    return tuple(
        replace(prediction, frame_index=index, review_reasons=(*prediction.review_reasons, *added))
        for index, prediction in zip(scan.indexes, predictions, strict=True)
    )


def _top_class(probability: NDArray[np.float32]) -> tuple[TumorClass, float]:
    best = int(probability.argmax())
    return CLASSES[best], float(probability[best])


def _is_outside(score: float | None, manifest: Manifest) -> bool:
    bound = manifest.out_of_distribution_above
    return score is not None and bound is not None and score > bound
