"""Compare two models, A and B, on the same test images.

A paired test of the difference needs only the images that exactly one of the two models predicts correctly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.significance import ImagePredictions
from braintumor.evaluation.store import load_image_predictions
from braintumor.labels import TumorClass
from braintumor.registry.model_versions import ModelVersion


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """Count the test images that both models, only A, only B or neither model predict correctly."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def count(self) -> int:
        """Return the number of images, 1 or more."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def a(self) -> float:
        """Return the share of images that A predicts correctly: A's accuracy, or A's recall of one class."""
        return (self.both + self.only_a) / self.count

    @property
    def b(self) -> float:
        """Return the share of images that B predicts correctly: B's accuracy, or B's recall of one class."""
        return (self.both + self.only_b) / self.count


_CELL_OF = {(True, True): "both", (True, False): "only_a", (False, True): "only_b", (False, False): "neither"}
"""(whether A is correct, whether B is correct) -> field of ``PairedCounts``."""
_CELLS = tuple(_CELL_OF.values())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold the counts of models A and B on the test images of one snapshot, overall and by true class."""

    name_a: str
    name_b: str
    snapshot_id: str
    all: PairedCounts
    by_class: dict[TumorClass, PairedCounts]

    @property
    def difference(self) -> float:
        """Return the accuracy of B minus the accuracy of A, exactly 0 for equal numbers of correct predictions."""
        return (self.all.only_b - self.all.only_a) / self.all.count

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "a": self.name_a,
            "b": self.name_b,
            "snapshot_id": self.snapshot_id,
            "count_image": self.all.count,
            "accuracy_a": self.all.a,
            "accuracy_b": self.all.b,
            "difference": self.difference,
            **asdict(self.all),
            "by_class": {
                str(label): {**asdict(counts), "recall_a": counts.a, "recall_b": counts.b}
                for label, counts in self.by_class.items()
            },
        }


def compare(engine: Engine, a: ModelVersion, b: ModelVersion) -> Comparison:
    """Return the comparison of two models by their stored predictions of the same test images.

    The images are those of the newest snapshot on whose test split both models were evaluated.

    Raises:
        EvaluationError: there is no such snapshot, or the two evaluations are of different images.
    """
    with transaction(engine) as connection:
        snapshot_id = common_snapshot(connection, a, b)
        ours, theirs = (load_image_predictions(connection, model, snapshot_id, Split.TEST) for model in (a, b))
    unpaired = _count_unpaired(ours, theirs)
    if unpaired:
        raise EvaluationError(
            f"{a.model_name} and {b.model_name} were evaluated on different test images of snapshot {snapshot_id}: "
            f"{unpaired} have a prediction of one model only. Evaluate both again: `braintumor model evaluate NAME`."
        )
    by_class = _counts(ours, theirs)
    return Comparison(
        name_a=a.model_name,
        name_b=b.model_name,
        snapshot_id=snapshot_id,
        all=PairedCounts(**{name: sum(getattr(counts, name) for counts in by_class.values()) for name in _CELLS}),
        by_class=by_class,
    )


def common_snapshot(connection: Connection, a: ModelVersion, b: ModelVersion) -> str:
    """Return the newest snapshot on whose test split both models were evaluated.

    Raises:
        EvaluationError: there is no such snapshot.
    """
    snapshot_id: str | None = connection.scalar(
        statement("evaluation/newest_common_snapshot"), {"a": a.model_version_id, "b": b.model_version_id}
    )
    if snapshot_id is None:
        newer = max(a, b, key=lambda model: model.model_version_id)
        raise EvaluationError(
            f"{a.model_name} and {b.model_name} were never evaluated on the same test images. Run `braintumor model "
            f"evaluate NAME --snapshot {newer.snapshot_id}` for both. It counts as a test-set evaluation of each."
        )
    return snapshot_id


def _counts(a: ImagePredictions, b: ImagePredictions) -> dict[TumorClass, PairedCounts]:
    """Return the counts of each true class that has test images, in the order of the classes."""
    cells: defaultdict[TumorClass, Counter[str]] = defaultdict(Counter)
    for image, prediction in a.items():
        cells[prediction.label][_CELL_OF[prediction.is_correct, b[image].is_correct]] += 1
    return {
        label: PairedCounts(**{name: cells[label][name] for name in _CELLS}) for label in TumorClass if label in cells
    }


def _count_unpaired(a: ImagePredictions, b: ImagePredictions) -> int:
    """Return the number of pairs (image, label) that occur in the predictions of only one of the two models."""
    ours, theirs = ({(image, prediction.label) for image, prediction in predictions.items()} for predictions in (a, b))
    return len(ours ^ theirs)
