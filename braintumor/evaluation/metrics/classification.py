"""Compute the metrics of a model on one split, from labels and probabilities.

>>> evaluation = evaluate(labels=np.array([0, 2]), probabilities=np.eye(4)[[0, 2]], split="test")
>>> evaluation.accuracy
1.0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.calibration import calibration_bins, expected_calibration_error
from braintumor.labels import CLASSES, TUMORS, TumorClass

LEVEL = 0.95
_SUM_TOLERANCE = 1e-3
"""Largest allowed difference between the sum of a row and 1. Rounding to float16 causes a smaller difference."""


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Hold the metrics of one class against the three others. An undefined metric is ``None``.

    Attributes:
        label: the class.
        precision: share of the images predicted as this class that have this label. If no image is predicted as
            this class, precision is 0. If the class has no images either, precision is ``None``.
        recall: share of the images of this class that are predicted as this class, also called sensitivity.
        specificity: share of the images of other classes that are not predicted as this class.
        f1: harmonic mean of precision and recall.
        support: number of images of this class.
        auroc: area under the receiver operating characteristic, one against the rest.
    """

    label: TumorClass
    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    support: int
    auroc: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Hold a model's metrics on one split.

    Attributes:
        split: ``train``, ``validation`` or ``test``.
        count: number of images.
        accuracy: share of images with a correct prediction.
        accuracy_low: lower end of the 95% Wilson interval of the accuracy.
        accuracy_high: upper end of the 95% Wilson interval of the accuracy.
        macro_precision: mean precision of the classes that have images.
        macro_recall: mean recall of the classes that have images: the balanced accuracy.
        macro_f1: mean F1 of the classes that have images.
        tumor_sensitivity: share of the tumor images that are predicted as any tumor, ``None`` without tumor images.
        expected_calibration_error: mean absolute difference between confidence and accuracy in 15 equal-width bins,
            weighted by number of images (Guo et al. 2017).
        log_loss: mean negative log-likelihood of the true class, in nats.
        per_class: metrics of each class, in the order of ``CLASSES``.
        confusion: counts (4, 4). Rows are true classes, columns are predicted classes.
    """

    split: str
    count: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    tumor_sensitivity: float | None
    expected_calibration_error: float
    log_loss: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        order = tuple(metrics.label for metrics in self.per_class)
        if order != CLASSES:
            raise EvaluationError(
                f"The classes of an evaluation must be in the order {_names(CLASSES)}. Received: {_names(order)}. "
                "Evaluate the model again with this project's class order."
            )
        if [len(row) for row in self.confusion] != [len(CLASSES)] * len(CLASSES):
            raise EvaluationError(
                f"A confusion matrix must be {len(CLASSES)} x {len(CLASSES)}. Received: {self.confusion!r}. "
                "Evaluate the model again."
            )

    def of(self, label: TumorClass) -> ClassMetrics:
        """Return the metrics of one class."""
        return self.per_class[label.position]


def evaluate(*, labels: NDArray[np.integer], probabilities: NDArray[np.floating], split: str) -> Evaluation:
    """Return every metric of a model on one split.

    Args:
        labels: (N,) integer positions in ``CLASSES``.
        probabilities: (N, 4) rows that sum to 1, columns in the order of ``CLASSES``.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        EvaluationError: a shape, type or value is not as described.
    """
    truth, chances = validate_predictions(labels, probabilities)
    confusion = confusion_matrix(truth, chances.argmax(axis=1), labels=range(len(CLASSES)))  # (4, 4)
    per_class = tuple(_class_metrics(label, confusion, truth, chances) for label in CLASSES)
    hits = int(np.trace(confusion))
    low, high = wilson_interval(hits, len(truth))
    return Evaluation(
        split=str(split),  # a StrEnum is allowed, a plain string is kept
        count=len(truth),
        accuracy=hits / len(truth),
        accuracy_low=low,
        accuracy_high=high,
        macro_precision=_macro(per_class, "precision"),
        macro_recall=_macro(per_class, "recall"),
        macro_f1=_macro(per_class, "f1"),
        tumor_sensitivity=_tumor_sensitivity(confusion),
        expected_calibration_error=expected_calibration_error(calibration_bins(truth, chances)),
        log_loss=float(log_loss(truth, chances, labels=range(len(CLASSES)))),
        per_class=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def wilson_interval(hits: float, count: float) -> tuple[float, float]:
    """Return the 95% confidence interval (low, high) of the share ``hits / count``.

    The interval is within [0, 1] and accurate near 0 and 1.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.

    Raises:
        EvaluationError: ``hits`` is not between 0 and ``count``, or ``count`` is 0.
    """
    if not 0 <= hits <= count or count == 0:
        raise EvaluationError(
            f"A share needs 0 <= hits <= count and count above 0. Received: {hits} of {count}. Count again."
        )
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, spread = hits / count, z * z / count
    center = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # The exact interval contains the share, but rounding at 0 and 1 could exclude it.
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


def validate_predictions(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Check labels (N,) and probabilities (N, 4), and return them as int64 and float64.

    Each returned row of probabilities is scaled so that its sum is 1.

    Raises:
        EvaluationError: a shape, type or value is wrong. The message names the fault.
    """
    truth, chances = np.asarray(labels), np.asarray(probabilities)
    if truth.ndim != 1 or truth.size == 0 or not np.issubdtype(truth.dtype, np.integer):
        raise EvaluationError(
            "labels must be a whole-number array of shape (N,) with N of 1 or more. "
            f"Received: {truth.dtype} of shape {truth.shape}. Pass each image's position in CLASSES."
        )
    if chances.shape != (len(truth), len(CLASSES)) or not np.issubdtype(chances.dtype, np.floating):
        raise EvaluationError(
            f"probabilities must be a floating-point array of shape ({len(truth)}, {len(CLASSES)}), one row per label. "
            f"Received: {chances.dtype} of shape {chances.shape}. Pass the model's probability output."
        )
    if not np.isin(truth, range(len(CLASSES))).all():
        raise EvaluationError(
            f"labels must be 0 to {len(CLASSES) - 1}, positions in {_names(CLASSES)}. "
            f"Received: {sorted(set(truth.tolist()) - set(range(len(CLASSES))))}. Map names with labels.parse_class."
        )
    chances = chances.astype(np.float64)
    _check_rows(chances)
    return truth.astype(np.int64), chances / chances.sum(axis=1, keepdims=True)


def _check_rows(chances: NDArray[np.float64]) -> None:
    finite = np.isfinite(chances).all(axis=1)  # (N,)
    if not finite.all():
        raise EvaluationError(
            "probabilities must be finite numbers. "
            f"Received: {chances[~finite][0].tolist()} in row {np.argmin(finite)}, {(~finite).sum()} such rows. "
            "The model's weights are invalid. Do not use it."
        )
    valid = (chances >= 0).all(axis=1) & (np.abs(chances.sum(axis=1) - 1) <= _SUM_TOLERANCE)  # (N,)
    if not valid.all():
        raise EvaluationError(
            f"each row of probabilities must be 0 or more and sum to 1 within {_SUM_TOLERANCE}. "
            f"Received: {chances[~valid][0].tolist()} in row {np.argmin(valid)}, {(~valid).sum()} such rows. "
            "Pass probabilities, not logits."
        )


def _class_metrics(
    label: TumorClass, confusion: NDArray[np.int64], truth: NDArray[np.int64], chances: NDArray[np.float64]
) -> ClassMetrics:
    position = label.position
    support, predicted = int(confusion[position].sum()), int(confusion[:, position].sum())
    hits, others = int(confusion[position, position]), len(truth) - support
    precision = _share(hits, predicted)
    return ClassMetrics(
        label=label,
        precision=0.0 if precision is None and support else precision,
        recall=_share(hits, support),
        specificity=_share(others - (predicted - hits), others),
        f1=_share(2 * hits, support + predicted) if support else None,
        support=support,
        auroc=float(roc_auc_score(truth == position, chances[:, position])) if support and others else None,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _macro(per_class: Sequence[ClassMetrics], name: str) -> float:
    return fmean(getattr(metrics, name) for metrics in per_class if metrics.support)


def _tumor_sensitivity(confusion: NDArray[np.int64]) -> float | None:
    tumors = [label.position for label in TUMORS]
    return _share(int(confusion[np.ix_(tumors, tumors)].sum()), int(confusion[tumors].sum()))


def _names(labels: Sequence[TumorClass]) -> str:
    return ", ".join(label.value for label in labels)
