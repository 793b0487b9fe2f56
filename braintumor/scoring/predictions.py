"""Write rows of the table ``prediction``, and describe the conditions under which two runs write equal rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from braintumor.db.database import copy_rows
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import ModelVersion
from braintumor.scoring.run import ScoringRun
from braintumor.serving.backend import BackendName
from braintumor.serving.prediction import Prediction

PREDICTION_COLUMNS = (
    "scan_id", "frame_index", "model_version_id", "scoring_run_id", "predicted_class", "confidence", "margin",
    "probability_glioma", "probability_meningioma", "probability_normal", "probability_pituitary",
    "prediction_set", "out_of_distribution", "second_class", "second_confidence", "review_reasons", "activation_map",
    "engine", "preprocessing",
)  # fmt: skip
"""Columns of ``prediction`` that each new prediction fills. A copied prediction also names its original scan."""


def same_prediction_values(run: ScoringRun) -> dict[str, Any]:
    """Return the parameters of ``sql/statements/scoring/same_prediction.sql`` for a run.

    That condition selects predictions that the run would repeat for equal bytes.
    """
    return {
        "model": run.model.model_version_id,
        "engine": run.backend,
        "preprocessing": run.model.preprocessing,
        "second": run.second and run.second.model_version_id,
    }


def write_predictions(
    connection: Connection,
    predictions: Iterable[tuple[int, Sequence[Prediction]]],
    *,
    scoring_run_id: int,
    model: ModelVersion,
    backend: BackendName,
) -> None:
    """Insert predictions, given as pairs of a scan ID and the predictions of the scan's frames."""
    of_run = {
        "model_version_id": model.model_version_id,
        "scoring_run_id": scoring_run_id,
        "engine": backend,
        "preprocessing": model.preprocessing,
    }
    values = (
        {"scan_id": scan_id, **of_run, **frame_values(prediction)}
        for scan_id, of_frames in predictions
        for prediction in of_frames
    )
    rows = ([row[name] for name in PREDICTION_COLUMNS] for row in values)
    copy_rows(connection, "prediction", PREDICTION_COLUMNS, rows)


def frame_values(prediction: Prediction) -> dict[str, Any]:
    """Return the values of one frame's prediction by column of the table ``prediction``.

    Prediction set, review reasons and activation map are texts in Postgres's formats of arrays and bytes.
    """
    second_class, second_confidence = prediction.second or (None, None)
    classes = prediction.prediction_set
    return {
        "frame_index": prediction.frame_index,
        "predicted_class": prediction.predicted_class.value,
        "confidence": prediction.confidence,
        "margin": prediction.margin,
        **{f"probability_{name}": value for name, value in zip(CLASSES, prediction.probabilities, strict=True)},
        "prediction_set": None if classes is None else "{" + ",".join(classes) + "}",
        "out_of_distribution": prediction.out_of_distribution,
        "second_class": second_class,
        "second_confidence": second_confidence,
        "review_reasons": "{" + ",".join(prediction.review_reasons) + "}",
        "activation_map": "\\x" + prediction.activation_map.astype("<f2").tobytes().hex(),
    }
