"""Evaluations and findings in Postgres: once per model, snapshot and split, with every look counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, text

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.db.database import copy_rows
from braintumor.evaluation.metrics.classification import ClassMetrics, Evaluation
from braintumor.evaluation.metrics.diagnostics import Diagnostics, Throughput
from braintumor.evaluation.metrics.leakage import DistanceBand, Neighbor, accuracy_by_distance
from braintumor.evaluation.metrics.occlusion import HidingEffect, Occlusion
from braintumor.evaluation.metrics.significance import ImagePrediction, ImagePredictions
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.labels import CLASSES, TumorClass
from braintumor.registry.model_versions import ModelVersion

_FIGURES = (
    "accuracy", "accuracy_low", "accuracy_high", "macro_precision", "macro_recall", "macro_f1", "tumor_sensitivity",
    "expected_calibration_error", "log_loss",
)  # fmt: skip
_DETAILS = ("evaluation_class", "confusion_cell", "test_prediction", "evaluation_occlusion", "evaluation_slice")
_CLASS_FIGURES = ("precision", "recall", "specificity", "f1", "auroc", "support")


def record_evaluation(
    connection: Connection,
    model: ModelVersion,
    snapshot_id: str,
    evaluation: Evaluation,
    *,
    frames: FrameArrays,
    probabilities: NDArray[np.float32],
    findings: Diagnostics,
    access_key: str,
) -> int:
    """Write an evaluation with its classes, confusion matrix, per-image answers and findings.

    Done again, it replaces the figures and counts one more look, unless ``access_key`` says that it is a retry of one.
    Returns how many looks there have been.
    """
    evaluation_id: int = connection.execute(
        text(f"""
        insert into evaluation (model_version_id, snapshot_id, split, count_image, {", ".join(_FIGURES)})
        values (:model, :snapshot, cast(:split as split), :count_image, {", ".join(f":{name}" for name in _FIGURES)})
        on conflict (model_version_id, snapshot_id, split) do update
        set evaluated_at = now(), count_image = excluded.count_image,
            {", ".join(f"{name} = excluded.{name}" for name in _FIGURES)}
        returning evaluation_id"""),
        {
            "model": model.model_version_id,
            "snapshot": snapshot_id,
            "split": evaluation.split,
            "count_image": evaluation.count,
            **{name: getattr(evaluation, name) for name in _FIGURES},
        },
    ).scalar_one()
    for table in _DETAILS:
        connection.execute(text(f"delete from {table} where evaluation_id = :id"), {"id": evaluation_id})
    _copy_details(connection, evaluation_id, evaluation)
    _copy_predictions(connection, evaluation_id, frames, probabilities, findings.neighbors)
    _record_findings(connection, evaluation_id, findings)
    return _count_look(connection, evaluation_id, access_key)


def _count_look(connection: Connection, evaluation_id: int, access_key: str) -> int:
    values = {"id": evaluation_id, "key": access_key}
    connection.execute(
        text("insert into test_set_access (evaluation_id, access_key) values (:id, :key) on conflict do nothing"),
        values,
    )
    looks: int = connection.execute(
        text("select count(*) from test_set_access where evaluation_id = :id"), values
    ).scalar_one()
    return looks


def load_evaluation(connection: Connection, model: ModelVersion, snapshot_id: str, split: str) -> Evaluation | None:
    """Read an evaluation back, or ``None`` where the model was never judged on that split."""
    head = connection.execute(
        text(f"""
        select evaluation_id, count_image, {", ".join(_FIGURES)} from evaluation
        where model_version_id = :model and snapshot_id = :snapshot and split = cast(:split as split)"""),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    ).one_or_none()
    if head is None:
        return None
    classes = connection.execute(
        text(f"""
        select label::text, {", ".join(_CLASS_FIGURES)} from evaluation_class
        where evaluation_id = :id order by label"""),
        {"id": head.evaluation_id},
    ).all()
    cells = connection.scalars(
        text("select count_image from confusion_cell where evaluation_id = :id order by label, predicted_class"),
        {"id": head.evaluation_id},
    ).all()
    return Evaluation(
        split=split,
        count=head.count_image,
        **{name: getattr(head, name) for name in _FIGURES},
        per_class=tuple(ClassMetrics(**{**row._mapping, "label": TumorClass(row.label)}) for row in classes),
        confusion=tuple(tuple(cells[i : i + len(CLASSES)]) for i in range(0, len(cells), len(CLASSES))),
    )


def load_image_predictions(
    connection: Connection, model: ModelVersion, snapshot_id: str, split: str
) -> ImagePredictions:
    """What the model said of each image of a split, by the image's sha256; empty where it was never judged."""
    rows = connection.execute(
        text("""
        select
            test_prediction.image_sha256,
            test_prediction.label::text as label,
            test_prediction.predicted_class::text as predicted,
            coalesce(snapshot_image.group_key, test_prediction.image_sha256) as group_key
        from test_prediction
        join evaluation using (evaluation_id)
        left join snapshot_image using (snapshot_id, image_sha256)
        where evaluation.model_version_id = :model and snapshot_id = :snapshot
          and evaluation.split = cast(:split as split)"""),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    )
    return {
        row.image_sha256: ImagePrediction(
            label=TumorClass(row.label), predicted=TumorClass(row.predicted), group_key=row.group_key
        )
        for row in rows
    }


def load_diagnostics(connection: Connection, model: ModelVersion, snapshot_id: str, split: str) -> Diagnostics:
    """Read back what was found beside the figures; empty where the model was never judged on that split."""
    head = connection.execute(
        text("""
        select evaluation_id, uncalibrated_error, images_per_second, measured_on from evaluation
        where model_version_id = :model and snapshot_id = :snapshot and split = cast(:split as split)"""),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    ).one_or_none()
    if head is None:
        return Diagnostics()
    is_timed = head.images_per_second is not None
    return Diagnostics(
        uncalibrated_error=head.uncalibrated_error,
        throughput=Throughput(images_per_second=head.images_per_second, measured_on=head.measured_on)
        if is_timed
        else None,
        occlusion=_load_occlusion(connection, head.evaluation_id),
        slices=_load_slices(connection, head.evaluation_id),
    )


def load_distance_bands(connection: Connection, model: ModelVersion, snapshot_id: str) -> list[DistanceBand]:
    """Accuracy on test by the distance to the nearest training image; empty where that was not kept."""
    rows = connection.execute(
        text("""
        select nearest_distance, label = predicted_class as is_correct
        from test_prediction
        join evaluation using (evaluation_id)
        where model_version_id = :model and snapshot_id = :snapshot and split = 'test'
          and nearest_distance is not null"""),
        {"model": model.model_version_id, "snapshot": snapshot_id},
    ).all()
    return accuracy_by_distance([(row.nearest_distance, row.is_correct) for row in rows]) if rows else []


def _load_occlusion(connection: Connection, evaluation_id: int) -> Occlusion | None:
    rows = connection.execute(
        text("""
        select hidden, count_image, count_changed, mean_drop from evaluation_occlusion where evaluation_id = :id"""),
        {"id": evaluation_id},
    ).all()
    effects = {
        row.hidden: HidingEffect(count=row.count_image, count_changed=row.count_changed, mean_drop=row.mean_drop)
        for row in rows
    }
    return Occlusion(**effects) if effects else None


def _load_slices(connection: Connection, evaluation_id: int) -> tuple[SliceResult, ...]:
    rows = connection.execute(
        text("""
        select attribute, value, count_image as count, count_correct
        from evaluation_slice
        where evaluation_id = :id
        order by attribute collate "C", value collate "C"
        """),
        {"id": evaluation_id},
    ).all()
    return tuple(SliceResult(**row._mapping) for row in rows)


def _record_findings(connection: Connection, evaluation_id: int, findings: Diagnostics) -> None:
    speed, occlusion = findings.throughput, findings.occlusion
    connection.execute(
        text("""
        update evaluation
        set uncalibrated_error = :error, images_per_second = :speed, measured_on = :device
        where evaluation_id = :id"""),
        {
            "id": evaluation_id,
            "error": findings.uncalibrated_error,
            "speed": speed and speed.images_per_second,
            "device": speed and speed.measured_on,
        },
    )
    effects = {} if occlusion is None else {"marked": occlusion.marked, "elsewhere": occlusion.elsewhere}
    copy_rows(
        connection,
        "evaluation_occlusion",
        ["evaluation_id", "hidden", "count_image", "count_changed", "mean_drop"],
        ((evaluation_id, hidden, e.count, e.count_changed, e.mean_drop) for hidden, e in effects.items()),
    )
    copy_rows(
        connection,
        "evaluation_slice",
        ["evaluation_id", "attribute", "value", "count_image", "count_correct"],
        ((evaluation_id, s.attribute, s.value, s.count, s.count_correct) for s in findings.slices),
    )


def _copy_details(connection: Connection, evaluation_id: int, evaluation: Evaluation) -> None:
    classes = [asdict(item) for item in evaluation.per_class]
    copy_rows(
        connection,
        "evaluation_class",
        ["evaluation_id", "label", *_CLASS_FIGURES],
        ([evaluation_id, item["label"], *(item[name] for name in _CLASS_FIGURES)] for item in classes),
    )
    copy_rows(
        connection,
        "confusion_cell",
        ["evaluation_id", "label", "predicted_class", "count_image"],
        (
            (evaluation_id, truth, predicted, count)
            for truth, row in zip(CLASSES, evaluation.confusion, strict=True)
            for predicted, count in zip(CLASSES, row, strict=True)
        ),
    )


def _copy_predictions(
    connection: Connection,
    evaluation_id: int,
    frames: FrameArrays,
    probabilities: NDArray[np.float32],
    neighbors: Sequence[Neighbor],
) -> None:
    nearest = {n.image_sha256: (n.neighbor_sha256, n.distance) for n in neighbors}
    rows: Sequence[Sequence[object]] = [
        (
            evaluation_id,
            image.image_sha256,
            image.label,
            CLASSES[int(chances.argmax())],
            *map(float, chances),
            *nearest.get(image.image_sha256, (None, None)),
        )
        for image, chances in zip(frames.images, probabilities, strict=True)
    ]
    columns = ["evaluation_id", "image_sha256", "label", "predicted_class", *(f"probability_{c}" for c in CLASSES)]
    copy_rows(connection, "test_prediction", [*columns, "nearest_training_sha256", "nearest_distance"], rows)
