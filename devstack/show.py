"""Format the tables that the demo prints. The tables are read from the views for analysts."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from sqlalchemy import Engine, text

from braintumor.cli.show import aligned
from braintumor.db.database import transaction
from braintumor.labels import CLASSES
from braintumor.registry.model_versions import ModelVersion


def show_leaderboard(engine: Engine, models: Sequence[ModelVersion]) -> str:
    """Return a text table with accuracy, precision, recall and F1 of each model on validation and test split."""
    return _query(
        engine,
        """
        select model_name, initialization, split::text, count_image as images, round(accuracy::numeric, 3) as accuracy,
               round(macro_precision::numeric, 3) as precision, round(macro_recall::numeric, 3) as recall,
               round(macro_f1::numeric, 3) as f1, count_access as accesses
        from model_leaderboard where model_name = any(:names) order by model_name, split""",
        names=[model.model_name for model in models],
    )


def show_confusion(engine: Engine, model: ModelVersion) -> str:
    """Return a table of image counts: rows are true classes, columns are predicted classes."""
    columns = ", ".join(
        f"sum(confusion_cell.count_image) filter (where predicted_class = '{c}') as {c}" for c in CLASSES
    )
    return _query(
        engine,
        f"""
        select confusion_cell.label::text as truth, {columns}
        from confusion_cell join evaluation using (evaluation_id)
        where model_version_id = :model and snapshot_id = :snapshot and split = 'test'
        group by confusion_cell.label order by confusion_cell.label""",
        model=model.model_version_id,
        snapshot=model.snapshot_id,
    )


def show_predictions(engine: Engine, *, limit: int) -> str:
    """Return a text table with the first ``limit`` predictions of the newest run."""
    return _query(
        engine,
        """
        select scan_id, format, predicted_class::text as prediction, round(confidence::numeric, 3) as confidence,
               round(probability_glioma::numeric, 3) as glioma, round(probability_meningioma::numeric, 3) as meningioma,
               round(probability_normal::numeric, 3) as normal, round(probability_pituitary::numeric, 3) as pituitary,
               array_to_string(review_reasons, ' ') as review_reasons
        from current_prediction
        where scoring_run_id = (select max(scoring_run_id) from current_prediction)
        order by scan_id limit :limit""",
        limit=limit,
    )


def show_rejections(engine: Engine) -> str:
    """Return a text table with the rejections of the newest run that has rejections."""
    return _query(
        engine,
        """
        select scan_id, reason, detail from rejection
        where scoring_run_id = (select max(scoring_run_id) from rejection) order by scan_id""",
    )


def _query(engine: Engine, sql: str, **parameters: object) -> str:
    """Return the rows of a query as an aligned text table."""
    with transaction(engine) as connection:
        result = connection.execute(text(sql), parameters)
        return indent(aligned(result.keys(), result), "  ")
