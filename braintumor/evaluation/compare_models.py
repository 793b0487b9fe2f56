"""Two models on identical test images: who gets what right that the other does not.

The counts of images that only one of them gets right are all that a paired test of the difference needs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.significance import ImagePredictions
from braintumor.evaluation.store import load_image_predictions
from braintumor.labels import TumorClass
from braintumor.registry.model_versions import ModelVersion


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """Test images, all or of one true class: ``both`` right, ``only_a``, ``only_b``, or ``neither``."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def count(self) -> int:
        """All of them, 1 or more."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def a(self) -> float:
        """The share that A gets right: accuracy, or recall of one class."""
        return (self.both + self.only_a) / self.count

    @property
    def b(self) -> float:
        """The share that B gets right."""
        return (self.both + self.only_b) / self.count


_CELL_OF = {(True, True): "both", (True, False): "only_a", (False, True): "only_b", (False, False): "neither"}
"""By whether A is right and whether B is."""
_CELLS = tuple(_CELL_OF.values())


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A and B on the test images of one snapshot."""

    name_a: str
    name_b: str
    snapshot_id: str
    all: PairedCounts
    by_class: dict[TumorClass, PairedCounts]

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A: exactly 0 where both get as many right."""
        return (self.all.only_b - self.all.only_a) / self.all.count

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
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
    """Pair the stored answers of two models on the newest snapshot on whose test images both were judged.

    Raises:
        EvaluationError: there is none, or they were judged on different images of it.
    """
    with transaction(engine) as connection:
        snapshot_id = _common_snapshot(connection, a, b)
        answers_a, answers_b = (load_image_predictions(connection, model, snapshot_id, Split.TEST) for model in (a, b))
    unpaired = _count_unpaired(answers_a, answers_b)
    if unpaired:
        raise EvaluationError(
            f"{a.model_name} and {b.model_name} were judged on different test images of snapshot {snapshot_id}: "
            f"{unpaired} have an answer of one only. Judge both again: `braintumor model evaluate NAME`."
        )
    by_class = _counts(answers_a, answers_b)
    return Comparison(
        name_a=a.model_name,
        name_b=b.model_name,
        snapshot_id=snapshot_id,
        all=PairedCounts(**{name: sum(getattr(counts, name) for counts in by_class.values()) for name in _CELLS}),
        by_class=by_class,
    )


def _common_snapshot(connection: Connection, a: ModelVersion, b: ModelVersion) -> str:
    found: str | None = connection.scalar(
        text("""
        select snapshot_id
        from evaluation
        join snapshot using (snapshot_id)
        where split = 'test' and model_version_id in (:a, :b)
        group by snapshot_id, snapshot.created_at
        having count(distinct model_version_id) = cardinality(array(select distinct unnest(array[:a, :b])))
        order by snapshot.created_at desc
        limit 1"""),
        {"a": a.model_version_id, "b": b.model_version_id},
    )
    if found is None:
        newer = max(a, b, key=lambda model: model.model_version_id)
        raise EvaluationError(
            f"{a.model_name} and {b.model_name} were never judged on the same test images. Judge both on one "
            f"snapshot's, `braintumor model evaluate NAME --snapshot {newer.snapshot_id}`: one more look at test each."
        )
    return found


def _counts(a: ImagePredictions, b: ImagePredictions) -> dict[TumorClass, PairedCounts]:
    """The counts of each class that has test images, in the order of the classes."""
    cells: defaultdict[TumorClass, Counter[str]] = defaultdict(Counter)
    for image, answer in a.items():
        cells[answer.label][_CELL_OF[answer.is_correct, b[image].is_correct]] += 1
    return {
        label: PairedCounts(**{name: cells[label][name] for name in _CELLS}) for label in TumorClass if label in cells
    }


def _count_unpaired(a: ImagePredictions, b: ImagePredictions) -> int:
    """Answers that the other model has not, to the same image with the same label."""
    ours, theirs = ({(image, answer.label) for image, answer in answers.items()} for answers in (a, b))
    return len(ours ^ theirs)
