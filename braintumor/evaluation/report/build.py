"""All that is known of one model, gathered from Postgres into a ``ModelReport``."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, text

from braintumor.dataset.snapshot import identified_of
from braintumor.dataset.splits.split import Split
from braintumor.db.database import transaction
from braintumor.errors import ModelIntegrityError
from braintumor.evaluation.gate.gate import Verdict
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.diagnostics import Diagnostics
from braintumor.evaluation.report.formatting import recipe
from braintumor.evaluation.report.model_report import ModelPictures, ModelReport
from braintumor.evaluation.report.tables import ReportTable, leak_table
from braintumor.evaluation.store import load_diagnostics, load_distance_bands, load_evaluation
from braintumor.registry.model_versions import ModelVersion, TrainingRecord, training_of

_INITIALIZATION = {
    "imagenet": "ImageNet weights",
    "file": "weights of a file that the recipe names",
    "random": "random weights (no pretraining; not a model for patients)",
}


def build_model_report(
    engine: Engine,
    model: ModelVersion,
    *,
    pictures: ModelPictures | None = None,
    verdict: Verdict | None = None,
    artifact_bytes: int = 0,
) -> ModelReport:
    """Gather one model's facts and figures; without ``verdict``, the newest that the gate passed on it, if any.

    Raises:
        ModelIntegrityError: the model has not been evaluated on the snapshot that it was trained on.
    """
    validation, test = (_evaluation(engine, model, split) for split in (Split.VALIDATION, Split.TEST))
    training, facts, findings = training_of(engine, model), _facts(engine, model), _findings(engine, model)
    verdict = verdict or newest_verdict(engine, model)
    return ModelReport(
        name=model.model_name,
        role="champion" if model.is_champion else "candidate" if verdict else "trained",
        standing=model.standing,
        backbone=model.backbone,
        recipe=recipe(f"{model.recipe_name} (version {training.recipe['version']})", model.recipe_override),
        recipe_name=model.recipe_name,
        image_size=model.image_size,
        initialization=_initialization(model.initialization, training.initial_weights_sha256),
        dataset=facts["source_uri"],
        snapshot_id=model.snapshot_id,
        images_per_class=facts["images_per_class"],
        identified=facts["identified"],
        training_seconds=training.seconds,
        device=training.device,
        parameters=facts["count_parameter"],
        artifact_bytes=artifact_bytes,
        seed=training.recipe["seed"],
        code_version=training.code_version,
        library_versions=training.library_versions,
        created=f"{model.created_at:%Y-%m-%d %H:%M} UTC",
        validation=validation,
        test=test,
        history=training.history,
        verdict=verdict,
        throughput=findings.throughput,
        temperature=facts["temperature"],
        uncalibrated_error=findings.uncalibrated_error,
        occlusion=findings.occlusion,
        slices=findings.slices,
        tables=_leak_receipt(engine, model, training),
        artifact_sha256s=model.artifact_sha256s,
        pictures=pictures or ModelPictures(),
    )


def _leak_receipt(engine: Engine, model: ModelVersion, training: TrainingRecord) -> tuple[ReportTable, ...]:
    with transaction(engine) as connection:
        bands = load_distance_bands(connection, model, model.snapshot_id)
    table = leak_table(bands, grouped_accuracy=training.grouped_accuracy, naive_accuracy=training.naive_accuracy)
    return () if table is None else (table,)


def newest_verdict(engine: Engine, model: ModelVersion) -> Verdict | None:
    """What the gate last said of a model, or ``None`` where it never was before it."""
    with transaction(engine) as connection:
        rules = connection.scalar(
            text("""
            select rules from gate_verdict
            where model_version_id = :id order by gate_verdict_id desc limit 1"""),
            {"id": model.model_version_id},
        )
    return None if rules is None else Verdict.from_dict(rules)


def _initialization(kind: str, sha256: str | None) -> str:
    words = _INITIALIZATION.get(kind, kind)
    return f"{words} (sha256 {sha256[:12]}...)" if sha256 else words


def _findings(engine: Engine, model: ModelVersion) -> Diagnostics:
    with transaction(engine) as connection:
        return load_diagnostics(connection, model, model.snapshot_id, Split.TEST)


def _evaluation(engine: Engine, model: ModelVersion, split: Split) -> Evaluation:
    with transaction(engine) as connection:
        found = load_evaluation(connection, model, model.snapshot_id, split)
    if found is None:
        raise ModelIntegrityError(
            f"{model.model_name} was never evaluated on {split} of snapshot {model.snapshot_id}. "
            f"Run `braintumor model evaluate {model.model_name}`."
        )
    return found


def _facts(engine: Engine, model: ModelVersion) -> dict[str, Any]:
    """The model's size and temperature, and what is known of its snapshot."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select
                model_version.count_parameter, model_version.temperature,
                snapshot.source_uri, snapshot.count_image, snapshot.count_identified,
                snapshot.count_patient_identified
            from model_version
            join training_run using (training_run_id)
            join snapshot using (snapshot_id)
            where model_version_id = :id"""),
            {"id": model.model_version_id},
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
    return {**row._mapping, "images_per_class": per_class, "identified": identified_of(row)}
