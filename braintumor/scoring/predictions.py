"""The rows of ``prediction``: what is written of an answer, and which answer is the same as another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from braintumor.db.database import copy_rows
from braintumor.registry.model_versions import ModelVersion
from braintumor.scoring.run import ScoringRun
from braintumor.serving.backend import BackendName
from braintumor.serving.prediction import Prediction

PREDICTION_COLUMNS = (
    "scan_id", "frame_index", "model_version_id", "scoring_run_id", "predicted_class", "confidence", "margin",
    "probability_glioma", "probability_meningioma", "probability_normal", "probability_pituitary",
    "out_of_distribution", "second_class", "second_confidence", "review_reasons", "activation_map", "engine",
    "preprocessing",
)  # fmt: skip
"""What is written of an answer; a copy of one says beside it whose it is."""

SAME_PREDICTION = """
    prediction.model_version_id = :model and prediction.engine = :engine and prediction.preprocessing = :preprocessing
    and (select second_model_version_id from scoring_run where scoring_run_id = prediction.scoring_run_id)
        is not distinct from :second"""
"""SQL: whether a row of ``prediction`` is what a run of these values would write for the same bytes."""


def of_same_prediction(run: ScoringRun) -> dict[str, Any]:
    """The values of ``SAME_PREDICTION`` for a run."""
    return {
        "model": run.model.model_version_id,
        "engine": run.engine,
        "preprocessing": run.model.preprocessing,
        "second": run.second and run.second.model_version_id,
    }


def write_predictions(
    connection: Connection,
    answers: Iterable[tuple[int, Sequence[Prediction]]],
    *,
    scoring_run_id: int,
    model: ModelVersion,
    scored_by: BackendName,
) -> None:
    """Add the rows of ``prediction``: each scan's id, and its answers, which name their frames."""
    rows = (
        (
            scan_id,
            answer.frame_index,
            model.model_version_id,
            scoring_run_id,
            answer.predicted_class,
            answer.confidence,
            answer.margin,
            *answer.probabilities,
            answer.out_of_distribution,
            *(answer.second or (None, None)),
            "{" + ",".join(answer.review_reasons) + "}",
            "\\x" + answer.activation_map.astype("<f2").tobytes().hex(),
            scored_by,
            model.preprocessing,
        )
        for scan_id, of_frames in answers
        for answer in of_frames
    )
    copy_rows(connection, "prediction", PREDICTION_COLUMNS, rows)
