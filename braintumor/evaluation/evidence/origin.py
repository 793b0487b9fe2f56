"""Collect what a model was made from: data, patients, versions and hashes."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, text

from braintumor.dataset.images.patient_ids import claim_of_patients
from braintumor.dataset.snapshot import identified_of, snapshot_head
from braintumor.db.statements import statement
from braintumor.evaluation.evidence.content import not_assessed, rows
from braintumor.evaluation.report.tables import DICOM_ATTRIBUTES
from braintumor.registry.model_versions import ModelVersion, TrainingRecord
from braintumor.serving.artifact import GRAPH_WEIGHTS, KERAS_WEIGHTS


def data(connection: Connection, model: ModelVersion) -> dict[str, Any]:
    """Return the section about the snapshot of a model. It names no image and no patient."""
    (snapshot,) = rows(connection, statement("evaluation/evidence_snapshot"), model)
    characteristics = rows(
        connection, statement("evaluation/evidence_characteristics"), model, attributes=list(DICOM_ATTRIBUTES)
    )
    return {
        "snapshot": snapshot,
        "splits": rows(connection, statement("evaluation/evidence_splits"), model),
        "patients": _patients(connection, model),
        "exclusions": rows(connection, text(_EXCLUSIONS), model),
        "characteristics": characteristics
        or not_assessed("no image has an attribute of patient or scanner, because only DICOM files have them"),
        "reviewed_labels": rows(connection, statement("evaluation/evidence_reviewed_labels"), model),
    }


_EXCLUSIONS = """
    select split_part(item ->> 'reason', ':', 1) as reason, count(*) as count_file
    from snapshot cross join jsonb_array_elements(left_out) as item
    where snapshot_id = :snapshot group by 1 order by 1"""
"""The part of a reason before the colon is from a fixed list. The words of a person follow the colon."""


def _patients(connection: Connection, model: ModelVersion) -> dict[str, Any]:
    head = snapshot_head(connection, model.snapshot_id)
    identified = identified_of(head)
    if identified is None:
        return not_assessed("the snapshot was taken by a version that did not count patients")
    return {
        "count_image": identified.count_image,
        "count_image_with_patient_or_study": identified.count_identified,
        "count_image_with_patient": identified.count_patient,
        "count_image_kept_from_test": identified.count_kept_from_test,
        "classes_tested_without_patients": list(identified.exempt),
        "independence": claim_of_patients(identified),
    }


def versions(connection: Connection, model: ModelVersion, training: TrainingRecord) -> dict[str, Any]:
    """Return the section about versions and hashes of model, recipe, code and files."""
    (row,) = rows(connection, statement("evaluation/evidence_model"), model)
    facts = row.pop("facts")
    files = model.artifact_sha256s
    return {
        "model": {**facts, **row, "status": model.standing or "never promoted"},
        "hashes": {
            "snapshot_id": model.snapshot_id,
            "recipe_sha256": _digest(training.recipe),
            "weights_sha256": files.get(GRAPH_WEIGHTS),
            "keras_weights_sha256": files.get(KERAS_WEIGHTS),
            "initial_weights_sha256": training.initial_weights_sha256,
            "model_folder_sha256": _digest(files),
        },
        "training": {
            "run": training.run_key,
            "code_version": training.code_version,
            "device": training.device,
            "seconds": training.seconds,
            "initial_weights": model.initialization,
            "count_epoch": len(training.history.get("loss", ())),
        },
        "recipe": training.recipe,
        "recipe_overrides": training.recipe_override,
        "libraries": training.library_versions,
        "files": [{"file": name, "sha256": digest} for name, digest in sorted(files.items())],
    }


def _digest(values: Any) -> str:
    """Return the sha256 of values as JSON with sorted keys and without spaces."""
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
