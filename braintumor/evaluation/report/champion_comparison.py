"""Compare the test metrics of two models: a candidate with the champion of its verdict, or two selected models."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.report.formatting import figure
from braintumor.evaluation.store import load_evaluation, newest_verdict
from braintumor.labels import CLASSES
from braintumor.markdown import escaped, table
from braintumor.registry.model_versions import ModelVersion, find_model


@dataclass(frozen=True, kw_only=True)
class MetricDifference:
    """Hold one metric of the candidate and of the champion. ``None`` is an undefined metric."""

    metric: str
    candidate: float | None
    champion: float | None

    @property
    def difference(self) -> str:
        """Return the candidate's metric minus the champion's as text, such as ``+0.012``."""
        if self.candidate is None or self.champion is None:
            return figure(None)
        change = self.candidate - self.champion
        return "identical" if change == 0 else f"{change:+.3f}"


@dataclass(frozen=True, kw_only=True)
class ChampionComparison:
    """Hold the metrics of a candidate and of the champion on the same test images.

    Attributes:
        champion: name of the champion.
        snapshot_id: snapshot of the test images.
        rows: accuracy, tumor sensitivity, and the recall of each class.
        count_image: number of test images.
        count_changed: number of test images for which the two models predict different classes.
    """

    champion: str
    snapshot_id: str
    rows: tuple[MetricDifference, ...]
    count_image: int
    count_changed: int

    @property
    def summary(self) -> str:
        """Return a sentence on the number of test images with different predictions."""
        if not self.count_changed:
            return (
                f"Identical to the champion {self.champion}: both predict the same class for each of "
                f"{self.count_image:,} test images."
            )
        return (
            f"The candidate and the champion {self.champion} predict different classes for {self.count_changed:,} of "
            f"{self.count_image:,} test images."
        )

    def to_markdown(self) -> str:
        """Return the summary and the table as Markdown."""
        columns = ["on test", "candidate", "champion", "difference"]
        rows = [[row.metric, figure(row.candidate), figure(row.champion), row.difference] for row in self.rows]
        return f"{escaped(self.summary)}\n\n{table(columns, rows, right=columns[1:])}"


def compare_with_champion(engine: Engine, model: ModelVersion) -> ChampionComparison | None:
    """Return the comparison of a model with the champion of the gate's newest verdict on the model.

    The result is ``None`` if there is no verdict, or as for ``compare_with_model``.
    """
    with transaction(engine) as connection:
        verdict = newest_verdict(connection, model)
    return None if verdict is None else compare_with_model(engine, model, verdict.champion_model_version_id)


def compare_with_model(engine: Engine, model: ModelVersion, champion_id: int | None) -> ChampionComparison | None:
    """Return the comparison of a model with the champion of this number.

    The result is ``None`` if the number is ``None``, or if a test evaluation is missing.
    """
    if champion_id is None:
        return None
    champion = find_model(engine, str(champion_id))
    with transaction(engine) as connection:
        return compare_on(connection, model, champion, snapshot_id=model.snapshot_id)


def compare_on(
    connection: Connection, candidate: ModelVersion, champion: ModelVersion, *, snapshot_id: str
) -> ChampionComparison | None:
    """Return the comparison of two models on the test split of a snapshot, ``None`` if an evaluation is missing."""
    ours, theirs = (load_evaluation(connection, each, snapshot_id, Split.TEST) for each in (candidate, champion))
    if ours is None or theirs is None:
        return None
    values = {"ours": candidate.model_version_id, "theirs": champion.model_version_id, "snapshot": snapshot_id}
    return ChampionComparison(
        champion=champion.model_name,
        snapshot_id=snapshot_id,
        rows=metric_differences(ours, theirs),
        count_image=ours.count,
        count_changed=connection.execute(statement("evaluation/count_changed_predictions"), values).scalar_one(),
    )


def metric_differences(candidate: Evaluation, champion: Evaluation) -> tuple[MetricDifference, ...]:
    """Return the six rows of a comparison: accuracy, tumor sensitivity, and the recall of each class."""
    pairs = [
        ("accuracy", candidate.accuracy, champion.accuracy),
        ("tumor sensitivity", candidate.tumor_sensitivity, champion.tumor_sensitivity),
        *((f"recall of {label}", candidate.of(label).recall, champion.of(label).recall) for label in CLASSES),
    ]
    return tuple(MetricDifference(metric=metric, candidate=ours, champion=theirs) for metric, ours, theirs in pairs)
