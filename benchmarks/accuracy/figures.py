"""Count the predictions of one fold, and compute the figures of the table from the counts of some folds.

The counts name no image and no person, so they may be published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from benchmarks.accuracy.data import Indexes
from benchmarks.accuracy.lesions import Pointing
from braintumor.evaluation.metrics.calibration import CalibrationBin, calibration_bins, expected_calibration_error
from braintumor.evaluation.metrics.significance import clustered_interval
from braintumor.labels import CLASSES, TUMORS, TumorClass

_DRAWS = 2_000


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Hold counts of the test predictions of one or more folds.

    Attributes:
        confusion: (4, 4). Rows are true classes, columns are predicted classes.
        clusters: one entry (correct images, images, number of such clusters) for each kind of cluster. A cluster is all
            images of a person, or the near-duplicate group of an image without a person.
        bins: bins of the confidence, as ``calibration_bins`` returns them.
        pointing: counts of where the strongest cells of the activation maps are.
        wall_minutes: minutes of training, including the computation of features by a frozen backbone.
        core_minutes: CPU time of the same work, in minutes of one core. Other work on the machine changes it little.
        folds: number of folds.
        known: correct images, and all images, whose person is known. ``None`` if this was not counted.
    """

    confusion: Sequence[Sequence[int]]
    clusters: Sequence[Sequence[int]]
    bins: Sequence[CalibrationBin]
    pointing: Pointing
    wall_minutes: float
    core_minutes: float
    folds: int = 1
    known: Sequence[int] | None = None

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        probabilities: NDArray[np.floating],
        clusters: Indexes,
        *,
        is_known: NDArray[np.bool_],
        pointing: Pointing,
        minutes: tuple[float, float],
    ) -> Self:
        """Count predictions.

        Args:
            labels: (N,) positions in ``CLASSES``.
            probabilities: (N, 4), columns in the order of ``CLASSES``.
            clusters: (N,) number of each image's cluster.
            is_known: (N,) whether the person of the image is known.
            pointing: counts of where the strongest cells of the activation maps are.
            minutes: wall minutes and core minutes of the training.
        """
        predicted = probabilities.argmax(axis=1)
        is_right = predicted == labels
        confusion = confusion_matrix(labels, predicted, labels=range(len(CLASSES)))
        members = [(int(is_right[clusters == c].sum()), int((clusters == c).sum())) for c in set(clusters)]
        return cls(
            confusion=confusion.tolist(),
            clusters=[[*kind, count] for kind, count in sorted(Counter(members).items())],
            bins=calibration_bins(labels, probabilities),
            pointing=pointing,
            wall_minutes=round(minutes[0], 1),
            core_minutes=round(minutes[1], 1),
            known=[int(is_right[is_known].sum()), int(is_known.sum())],
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the counts from the plain values that the method ``values`` returned."""
        bins = tuple(CalibrationBin(**part) for part in values["bins"])
        return cls(**{**values, "bins": bins, "pointing": Pointing(**values["pointing"])})

    def values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def sum(cls, parts: Sequence[Counts]) -> Self:
        """Return the counts of several folds together. The minutes are the mean over the folds."""
        known = [part.known for part in parts if part.known]
        return cls(
            confusion=np.sum([part.confusion for part in parts], axis=0).tolist(),
            clusters=[cluster for part in parts for cluster in part.clusters],
            bins=_joined([bin_ for part in parts for bin_ in part.bins]),
            pointing=Pointing.sum([part.pointing for part in parts]),
            wall_minutes=float(np.mean([part.wall_minutes for part in parts])),
            core_minutes=float(np.mean([part.core_minutes for part in parts])),
            folds=len(parts),
            known=np.sum(known, axis=0).tolist() if len(known) == len(parts) else None,
        )

    @property
    def accuracy(self) -> float:
        """Return the share of correct predictions."""
        confusion = np.array(self.confusion)
        return float(np.trace(confusion) / confusion.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the accuracy, from a bootstrap over clusters."""
        hits: list[bool] = []
        names: list[int] = []
        for right, size, count in self.clusters:
            for _ in range(count):
                names += [names[-1] + 1 if names else 0] * size
                hits += [True] * right + [False] * (size - right)
        return clustered_interval(hits, names)

    @property
    def recalls(self) -> dict[TumorClass, float]:
        """Return the recall of each class."""
        return {label: row[label.position] / sum(row) for label, row in zip(CLASSES, self.confusion, strict=True)}

    @property
    def tumors_as_normal(self) -> float:
        """Return the share of the tumor images that are predicted as normal."""
        rows = np.array(self.confusion)[[label.position for label in TUMORS]]
        return float(rows[:, TumorClass.NORMAL.position].sum() / rows.sum())

    @property
    def calibration_error(self) -> float:
        """Return the expected calibration error."""
        return expected_calibration_error(tuple(self.bins))

    @property
    def calibration_noise(self) -> float:
        """Return the mean calibration error of a perfectly calibrated model with these confidences (noise floor)."""
        counts = np.array([part.count for part in self.bins])
        confidence = np.array([part.confidence for part in self.bins])
        right = np.random.default_rng(0).binomial(counts, confidence, size=(_DRAWS, len(counts)))
        return float(np.abs(right - counts * confidence).sum(axis=1).mean() / counts.sum())


def _joined(bins: Sequence[CalibrationBin]) -> list[CalibrationBin]:
    """Join the bins with the same range of the confidence, and return one bin for each range."""
    joined = []
    for low in sorted({part.low for part in bins}):
        same = [part for part in bins if part.low == low]
        counts = [part.count for part in same]
        joined.append(
            CalibrationBin(
                low=low,
                high=same[0].high,
                count=sum(counts),
                confidence=float(np.average([part.confidence for part in same], weights=counts)),
                accuracy=float(np.average([part.accuracy for part in same], weights=counts)),
            )
        )
    return joined
