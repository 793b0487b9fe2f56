"""Write evaluations to Postgres, and load them.

There is one evaluation per model, snapshot and split. A new evaluation replaces it, and each access is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.db.database import copy_rows
from braintumor.db.statements import statement
from braintumor.evaluation.metrics.classification import ClassMetrics, Evaluation
from braintumor.evaluation.metrics.diagnostics import Diagnostics, Throughput
from braintumor.evaluation.metrics.leakage import DistanceBand, accuracy_by_distance
from braintumor.evaluation.metrics.occlusion import HidingEffect, Occlusion
from braintumor.evaluation.metrics.significance import ImagePrediction, ImagePredictions
from braintumor.evaluation.metrics.slices import SliceResult
from braintumor.labels import CLASSES, TumorClass
from braintumor.registry.model_versions import ModelVersion
from braintumor.serving.backend import Outputs

_METRICS = (
    "accuracy", "accuracy_low", "accuracy_high", "macro_precision", "macro_recall", "macro_f1", "tumor_sensitivity",
    "expected_calibration_error", "log_loss",
)  # fmt: skip
_DETAILS = ("evaluation_class", "confusion_cell", "test_prediction", "evaluation_occlusion", "evaluation_slice")
_SLICE_FIGURES = ("count_image", "count_group", "count_correct", "accuracy_low", "accuracy_high")
_CLASS_METRICS = ("precision", "recall", "specificity", "f1", "auroc", "support")


@dataclass(frozen=True, kw_only=True)
class SplitEvaluation:
    """Hold the results of one model on one split.

    ``count_access`` counts the evaluations of the model on the split. It is 0 before the results are recorded.
    """

    frames: FrameArrays
    outputs: Outputs
    evaluation: Evaluation
    diagnostics: Diagnostics
    count_access: int = 0


def record_evaluation(
    connection: Connection, model: ModelVersion, snapshot_id: str, result: SplitEvaluation, *, access_key: str
) -> int:
    """Write an evaluation, and return the number of evaluations of this model on this split so far.

    Evaluations with the same ``access_key`` count once, because they are retries.
    """
    evaluation = result.evaluation
    evaluation_id: int = connection.execute(
        text(f"""
        insert into evaluation (model_version_id, snapshot_id, split, count_image, {", ".join(_METRICS)})
        values (:model, :snapshot, cast(:split as split), :count_image, {", ".join(f":{name}" for name in _METRICS)})
        on conflict (model_version_id, snapshot_id, split) do update
        set evaluated_at = now(), count_image = excluded.count_image,
            {", ".join(f"{name} = excluded.{name}" for name in _METRICS)}
        returning evaluation_id"""),
        {
            "model": model.model_version_id,
            "snapshot": snapshot_id,
            "split": evaluation.split,
            "count_image": evaluation.count,
            **{name: getattr(evaluation, name) for name in _METRICS},
        },
    ).scalar_one()
    for table in _DETAILS:
        connection.execute(text(f"delete from {table} where evaluation_id = :id"), {"id": evaluation_id})
    _copy_details(connection, evaluation_id, evaluation)
    _copy_predictions(connection, evaluation_id, result)
    _record_diagnostics(connection, evaluation_id, result.diagnostics)
    connection.execute(
        text("insert into test_set_access (evaluation_id, access_key) values (:id, :key) on conflict do nothing"),
        {"id": evaluation_id, "key": access_key},
    )
    count: int = connection.execute(
        text("select count(*) from test_set_access where evaluation_id = :id"), {"id": evaluation_id}
    ).scalar_one()
    return count


def load_evaluation(connection: Connection, model: ModelVersion, snapshot_id: str, split: str) -> Evaluation | None:
    """Load the metrics of a model on a split of a snapshot, or ``None`` if the model was never evaluated on it."""
    head = connection.execute(
        text(f"""
        select evaluation_id, count_image, {", ".join(_METRICS)} from evaluation
        where model_version_id = :model and snapshot_id = :snapshot and split = cast(:split as split)"""),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    ).one_or_none()
    if head is None:
        return None
    classes = connection.execute(
        text(f"""
        select label::text, {", ".join(_CLASS_METRICS)} from evaluation_class
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
        **{name: getattr(head, name) for name in _METRICS},
        per_class=tuple(ClassMetrics(**{**row._mapping, "label": TumorClass(row.label)}) for row in classes),
        confusion=tuple(tuple(cells[i : i + len(CLASSES)]) for i in range(0, len(cells), len(CLASSES))),
    )


def load_image_predictions(
    connection: Connection, model: ModelVersion, snapshot_id: str, split: str
) -> ImagePredictions:
    """Load a model's predictions for a split, by sha256 of the image.

    The result is empty if the model was never evaluated on the split.
    """
    rows = connection.execute(
        statement("evaluation/image_predictions"),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    )
    return {
        row.image_sha256: ImagePrediction(
            label=TumorClass(row.label),
            predicted=TumorClass(row.predicted),
            group_key=row.group_key,
            has_patient=row.has_patient,
            probabilities=tuple(getattr(row, f"probability_{name.value}") for name in CLASSES),
        )
        for row in rows
    }


def newest_verdict(connection: Connection, model: ModelVersion) -> Row[Any] | None:
    """Return the newest row of a candidate in the table ``gate_verdict``, or ``None`` if there is no row."""
    return connection.execute(
        text("select * from gate_verdict where model_version_id = :id order by gate_verdict_id desc limit 1"),
        {"id": model.model_version_id},
    ).one_or_none()


def load_diagnostics(connection: Connection, model: ModelVersion, snapshot_id: str, split: str) -> Diagnostics:
    """Load the diagnostics of a model on one split: calibration error, speed, occlusion and slices.

    All fields are empty if the model was never evaluated on that split.
    """
    head = connection.execute(
        text("""
        select evaluation_id, uncalibrated_error, images_per_second, measured_on from evaluation
        where model_version_id = :model and snapshot_id = :snapshot and split = cast(:split as split)"""),
        {"model": model.model_version_id, "snapshot": snapshot_id, "split": split},
    ).one_or_none()
    if head is None:
        return Diagnostics()
    throughput = None
    if head.images_per_second is not None:
        throughput = Throughput(images_per_second=head.images_per_second, measured_on=head.measured_on)
    return Diagnostics(
        uncalibrated_error=head.uncalibrated_error,
        throughput=throughput,
        occlusion=_load_occlusion(connection, head.evaluation_id),
        slices=_load_slices(connection, head.evaluation_id),
    )


def load_distance_bands(connection: Connection, model: ModelVersion, snapshot_id: str) -> list[DistanceBand]:
    """Load the test accuracy by distance to the nearest training image. The list is empty if no distance is stored."""
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
        text(f"""
        select attribute, value, {", ".join(_SLICE_FIGURES)}
        from evaluation_slice
        where evaluation_id = :id
        order by attribute collate "C", value collate "C"
        """),
        {"id": evaluation_id},
    ).all()
    return tuple(
        SliceResult(
            attribute=row.attribute,
            value=row.value,
            count=row.count_image,
            count_group=row.count_group,
            count_correct=row.count_correct,
            interval=None if row.accuracy_low is None else (row.accuracy_low, row.accuracy_high),
        )
        for row in rows
    )


def _record_diagnostics(connection: Connection, evaluation_id: int, diagnostics: Diagnostics) -> None:
    speed, occlusion = diagnostics.throughput, diagnostics.occlusion
    connection.execute(
        text("""
        update evaluation
        set uncalibrated_error = :error, images_per_second = :speed, measured_on = :device
        where evaluation_id = :id"""),
        {
            "id": evaluation_id,
            "error": diagnostics.uncalibrated_error,
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
        ["evaluation_id", "attribute", "value", *_SLICE_FIGURES],
        (
            (
                evaluation_id,
                s.attribute,
                s.value,
                s.count,
                s.count_group,
                s.count_correct,
                *(s.interval or (None, None)),
            )
            for s in diagnostics.slices
        ),
    )


def _copy_details(connection: Connection, evaluation_id: int, evaluation: Evaluation) -> None:
    classes = [asdict(item) for item in evaluation.per_class]
    copy_rows(
        connection,
        "evaluation_class",
        ["evaluation_id", "label", *_CLASS_METRICS],
        ([evaluation_id, item["label"], *(item[name] for name in _CLASS_METRICS)] for item in classes),
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


def _copy_predictions(connection: Connection, evaluation_id: int, result: SplitEvaluation) -> None:
    nearest = {n.image_sha256: (n.neighbor_sha256, n.distance) for n in result.diagnostics.neighbors}
    rows: Sequence[Sequence[object]] = [
        (
            evaluation_id,
            image.image_sha256,
            image.label,
            CLASSES[int(chances.argmax())],
            *map(float, chances),
            *nearest.get(image.image_sha256, (None, None)),
        )
        for image, chances in zip(result.frames.images, result.outputs.probability, strict=True)
    ]
    columns = ["evaluation_id", "image_sha256", "label", "predicted_class", *(f"probability_{c}" for c in CLASSES)]
    copy_rows(connection, "test_prediction", [*columns, "nearest_training_sha256", "nearest_distance"], rows)
