"""Load the history of one model: training, evaluations, test-set accesses, verdicts and promotions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.evaluation.gate.gate import Verdict
from braintumor.registry import promotions
from braintumor.registry.model_versions import ModelVersion
from braintumor.registry.promotions import PromotionEvent


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hold the facts of the training run that made the model. ``seconds`` is the wall time of the training."""

    run_key: str
    code_version: str
    device: str
    seconds: float
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class EvaluationSummary:
    """Hold the main metrics of one evaluation. ``count_access`` counts the model's evaluations on the split so far."""

    snapshot_id: str
    split: str
    count_image: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_recall: float
    macro_f1: float
    expected_calibration_error: float
    count_access: int


@dataclass(frozen=True, kw_only=True)
class TestSetAccess:
    """Hold one evaluation on a test split. A retry of the evaluation has the same ``access_key`` and adds no entry."""

    snapshot_id: str
    access_key: str
    accessed_at: datetime


@dataclass(frozen=True, kw_only=True)
class RecordedVerdict:
    """Hold one verdict of the gate. ``champion`` names the champion of the comparison, ``None`` if there was none."""

    run_key: str
    champion: str | None
    judged_at: datetime
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class ModelHistory:
    """Hold the history of one model. Each list starts with the oldest entry."""

    model: ModelVersion
    training: Training
    evaluations: list[EvaluationSummary]
    test_set_accesses: list[TestSetAccess]
    verdicts: list[RecordedVerdict]
    promotions: list[PromotionEvent]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"model": asdict(self.model) | {"standing": self.model.standing}}


def history_of(engine: Engine, model: ModelVersion) -> ModelHistory:
    """Return the history of a model. A model without evaluations or verdicts has empty lists."""
    events = promotions.promotion_events(engine, model)
    with transaction(engine) as connection:
        return ModelHistory(
            model=model,
            training=_training(connection, model),
            evaluations=_evaluations(connection, model),
            test_set_accesses=_test_set_accesses(connection, model),
            verdicts=_verdicts(connection, model),
            promotions=events,
        )


def _training(connection: Connection, model: ModelVersion) -> Training:
    row = connection.execute(
        text("""
        select run_key, code_version, device, seconds, finished_at
        from training_run join model_version using (training_run_id)
        where model_version_id = :id"""),
        {"id": model.model_version_id},
    ).one()
    return Training(**row._mapping)


def _evaluations(connection: Connection, model: ModelVersion) -> list[EvaluationSummary]:
    rows = connection.execute(
        text("""
        select
            snapshot_id, split::text, count_image, accuracy, accuracy_low, accuracy_high, macro_recall, macro_f1,
            expected_calibration_error, count_access
        from model_leaderboard where model_name = :name order by evaluated_at, split"""),
        {"name": model.model_name},
    )
    return [EvaluationSummary(**row._mapping) for row in rows]


def _test_set_accesses(connection: Connection, model: ModelVersion) -> list[TestSetAccess]:
    rows = connection.execute(
        text("""
        select snapshot_id, access_key, accessed_at
        from test_set_access join evaluation using (evaluation_id)
        where model_version_id = :id and split = 'test' order by accessed_at"""),
        {"id": model.model_version_id},
    )
    return [TestSetAccess(**row._mapping) for row in rows]


def _verdicts(connection: Connection, model: ModelVersion) -> list[RecordedVerdict]:
    rows = connection.execute(
        text("""
        select run_key, champion.model_name as champion, judged_at, rules
        from gate_verdict
        left join model_version as champion on champion.model_version_id = champion_model_version_id
        where gate_verdict.model_version_id = :id order by gate_verdict_id"""),
        {"id": model.model_version_id},
    )
    return [
        RecordedVerdict(
            run_key=row.run_key, champion=row.champion, judged_at=row.judged_at, verdict=Verdict.from_dict(row.rules)
        )
        for row in rows
    ]
