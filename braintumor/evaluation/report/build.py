"""Build the ``ModelReport`` of one model from facts and metrics in Postgres."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, text

from braintumor.dataset.snapshot import identified_of
from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ModelIntegrityError
from braintumor.evaluation.gate.gate import Verdict
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.set_coverage import coverage_of
from braintumor.evaluation.metrics.significance import ClusteredAccuracy
from braintumor.evaluation.report.champion_comparison import compare_with_champion
from braintumor.evaluation.report.formatting import recipe
from braintumor.evaluation.report.model_report import ModelPlots, ModelReport
from braintumor.evaluation.report.tables import reading_table, sets_table, similarity_table
from braintumor.evaluation.store import (
    load_diagnostics,
    load_distance_bands,
    load_evaluation,
    load_image_predictions,
    newest_verdict,
)
from braintumor.live_accuracy.pace import median_seconds
from braintumor.live_accuracy.reading import predicted_steps
from braintumor.registry.model_versions import ModelVersion, training_of
from braintumor.reports.paths import EVIDENCE

_INITIALIZATION = {
    "imagenet": "ImageNet weights",
    "file": "weights from the recipe's file",
    "random": "random weights (no pretraining; not a model for patients)",
}


def build_model_report(
    engine: Engine,
    model: ModelVersion,
    *,
    plots: ModelPlots | None = None,
    verdict: Verdict | None = None,
    artifact_bytes: int = 0,
) -> ModelReport:
    """Return the report of one model, with facts and metrics from Postgres.

    Without a ``verdict``, the report has the gate's newest verdict on the model, if there is one. ``artifact_bytes`` is
    the size of the exported model, 0 if not recorded.

    Raises:
        ModelIntegrityError: the model has not been evaluated on the snapshot that it was trained on.
    """
    validation, test = (_evaluation(engine, model, split) for split in (Split.VALIDATION, Split.TEST))
    training = training_of(engine, model)
    with transaction(engine) as connection:
        diagnostics = load_diagnostics(connection, model, model.snapshot_id, Split.TEST)
        bands = load_distance_bands(connection, model, model.snapshot_id)
        predictions = load_image_predictions(connection, model, model.snapshot_id, Split.TEST)
        seconds = median_seconds(connection)
        stored = newest_verdict(connection, model)
        steps = predicted_steps(connection, model.model_name, seconds)
    similarity = similarity_table(
        bands, grouped_accuracy=training.grouped_accuracy, random_split_accuracy=training.naive_accuracy
    )
    thresholds = model.prediction_sets
    coverages = coverage_of(thresholds, predictions.values()) if thresholds and predictions else ()
    verdict = verdict or (Verdict.from_dict(stored.rules) if stored else None)
    return ModelReport(
        name=model.model_name,
        role="champion" if model.is_champion else "candidate" if verdict else "trained",
        status=model.standing,
        backbone=model.backbone,
        recipe=recipe(f"{model.recipe_name} (version {training.recipe['version']})", model.recipe_override),
        recipe_name=model.recipe_name,
        image_size=model.image_size,
        initialization=_initialization(model.initialization, training.initial_weights_sha256),
        snapshot_id=model.snapshot_id,
        training_seconds=training.seconds,
        device=training.device,
        artifact_bytes=artifact_bytes,
        seed=training.recipe["seed"],
        code_version=training.code_version,
        library_versions=training.library_versions,
        created=f"{model.created_at:%Y-%m-%d %H:%M} UTC",
        validation=validation,
        test=test,
        clustered=ClusteredAccuracy.of(predictions.values()) if predictions else None,
        history=training.history,
        verdict=verdict,
        comparison=compare_with_champion(engine, model),
        throughput=diagnostics.throughput,
        uncalibrated_error=diagnostics.uncalibrated_error,
        occlusion=diagnostics.occlusion,
        slices=diagnostics.slices,
        tables=(
            reading_table(steps, seconds=seconds),
            sets_table(thresholds, coverages),
            *([] if similarity is None else [similarity]),
        ),
        artifact_sha256s=model.artifact_sha256s,
        plots=plots or ModelPlots(),
        **_facts(engine, model),
    )


def _initialization(kind: str, sha256: str | None) -> str:
    words = _INITIALIZATION.get(kind, kind)
    return f"{words} (sha256 {sha256[:12]}...)" if sha256 else words


def _evaluation(engine: Engine, model: ModelVersion, split: Split) -> Evaluation:
    with transaction(engine) as connection:
        evaluation = load_evaluation(connection, model, model.snapshot_id, split)
    if evaluation is None:
        raise ModelIntegrityError(
            f"{model.model_name} was never evaluated on {split} of snapshot {model.snapshot_id}. "
            f"Run `braintumor model evaluate {model.model_name}`."
        )
    return evaluation


def _facts(engine: Engine, model: ModelVersion) -> dict[str, Any]:
    """Return some fields of ``ModelReport``, by name. They describe the model, its newest verdict and its snapshot."""
    with transaction(engine) as connection:
        row = connection.execute(
            statement("evaluation/model_facts"), {"id": model.model_version_id, "evidence": EVIDENCE}
        ).one()
        counts = connection.execute(
            text("""
            select split::text, label::text, count(*) as n from snapshot_image
            where snapshot_id = :id group by split, label order by split, label"""),
            {"id": model.snapshot_id},
        ).all()
    per_class: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for item in counts:
        per_class[item.split][item.label] = item.n
    return {
        "dataset": row.source_uri,
        "evidence": EVIDENCE if row.has_evidence else "",
        "images_per_class": per_class,
        "identified": identified_of(row),
        "parameters": row.count_parameter,
        "run_key": row.run_key,
        "temperature": row.temperature,
    }
