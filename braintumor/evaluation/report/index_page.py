"""Render the index page of the reports: models, retrain runs, scoring runs, promotion history and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from sqlalchemy import Connection, Engine, Row, TextClause, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.evaluation.report.formatting import figure, recipe
from braintumor.registry.model_versions import list_models
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import FLIP_PREVIEW, RUN_COMPARISON, RUN_STATUS, run_path, snapshot_path

_NEWEST = 52
"""Largest number of rows of a table: the weeks of a year."""


def overview_page(engine: Engine) -> str:
    """Return the index page as HTML, with relative links such as ``model/<name>/report.html``."""
    models = list_models(engine)
    with transaction(engine) as connection:
        retrain_runs = _newest(connection, statement("evaluation/newest_verdicts"))
        scoring_runs = _newest(connection, text(_SCORING_RUNS))
        promotions = _newest(connection, text(_PROMOTIONS))
        snapshots = _newest(connection, text(_SNAPSHOTS))
        test = {row.model_name: row for row in connection.execute(text(_TEST_METRICS))}
    return (
        _environment()
        .get_template("overview.html")
        .render(
            champion=next((model for model in models if model.is_champion), None),
            models=models[:_NEWEST],
            count_model=len(models),
            test=test,
            retrain_runs=[
                (row, run_path(row.run_key, RUN_COMPARISON), run_path(row.run_key, FLIP_PREVIEW))
                for row in retrain_runs
            ],
            scoring_runs=[(row, run_path(row.run_key, RUN_STATUS)) for row in scoring_runs],
            promotions=promotions,
            snapshots=snapshots,
        )
    )


def _newest(connection: Connection, query: TextClause) -> Sequence[Row[Any]]:
    return connection.execute(query, {"newest": _NEWEST}).all()


_TEST_METRICS = """
    select model_version.model_name, evaluation.accuracy, evaluation.macro_recall, evaluation.count_image
    from evaluation
    join model_version using (model_version_id)
    join training_run using (training_run_id, snapshot_id)
    where evaluation.split = 'test'"""
"""One row per model: the metrics on the test split of the snapshot that the model was trained on."""


_SCORING_RUNS = """
    select scoring_run_id, run_key, level::text as level, count_arrived, judged_at
    from scoring_run_summary
    join scoring_run using (scoring_run_id)
    order by scoring_run_id desc
    limit :newest"""

_PROMOTIONS = """
    select acted_at, action, model_name, is_override, actor, reason
    from promotion_history
    order by acted_at desc
    limit :newest"""

_SNAPSHOTS = """
    select snapshot_id, source_uri, count_image, created_at
    from snapshot
    order by created_at desc
    limit :newest"""


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": figure, "time": "{:%Y-%m-%d %H:%M}".format}
    environment.globals |= {"recipe": recipe, "snapshot_path": snapshot_path}
    return environment
