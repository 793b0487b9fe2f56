"""Render the page that compares two models that a reader of the index page selected."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from braintumor.db.database import transaction
from braintumor.errors import EvaluationError
from braintumor.evaluation.compare_models import common_snapshot
from braintumor.evaluation.report.champion_comparison import compare_on
from braintumor.evaluation.report.formatting import report_templates
from braintumor.registry.model_versions import find_model


def compare_page(engine: Engine, names: Sequence[str]) -> str:
    """Return the page (HTML) that compares two models on the newest test split on which both were evaluated.

    If there is no such split, the page says so.

    Raises:
        EvaluationError: ``names`` does not have two different names.
        ModelIntegrityError: there is no model with one of the names.
    """
    names = list(dict.fromkeys(names))
    if len(names) != 2:  # noqa: PLR2004
        raise EvaluationError(f"Select two models to compare. Selected: {len(names)}. Go back and select two.")
    first, second = models = [find_model(engine, name) for name in names]
    comparison, problem = None, ""
    with transaction(engine) as connection:
        try:
            comparison = compare_on(connection, first, second, snapshot_id=common_snapshot(connection, first, second))
        except EvaluationError as error:
            problem = str(error)
    return report_templates().get_template("compare.html").render(models=models, comparison=comparison, problem=problem)
