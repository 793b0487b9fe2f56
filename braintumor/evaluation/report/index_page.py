"""Render the index page of the reports: champion, pending decisions, models, runs, promotions and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from sqlalchemy import Connection, Engine, Row, text

from braintumor.db.database import transaction
from braintumor.evaluation.report.formatting import figure, recipe
from braintumor.registry.model_versions import list_models
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import (
    FLIP_PREVIEW,
    RESCORE_REPORT,
    RUN_COMPARISON,
    RUN_STATUS,
    is_dag_run,
    run_path,
    snapshot_path,
)

_NEWEST = 52
"""Largest number of rows of a table: the weeks of a year."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Hold the rights of a reader of the page.

    Attributes:
        sees_scoring: may see scoring runs.
        sees_rescores: may see rescores.
        sees_people: may see the names of people who decided.
    """

    sees_scoring: bool = False
    sees_rescores: bool = False
    sees_people: bool = False


def overview_page(engine: Engine, reader: Reader) -> str:
    """Return the index page as HTML, with the parts that ``reader`` may see.

    The links are relative: ``model/<name>/report.html``, ``runs/<run>/...``, ``snapshots/...``, ``compare``.
    """
    models = list_models(engine)
    with transaction(engine) as connection:
        tables = {name: _newest(connection, query) for name, query in _TABLES.items()}
        metrics = {row.model_name: row for row in connection.execute(text(_METRICS))}
        verdicts = {row.model_name: row.is_passed for row in connection.execute(text(_VERDICTS))}
        pending = connection.execute(text(_PENDING)).all()
        champion = connection.execute(text(_CHAMPION)).one_or_none()
    return (
        _environment()
        .get_template("overview.html")
        .render(
            reader=reader,
            champion=champion,
            pending=pending,
            models=models[:_NEWEST],
            count_model=len(models),
            metrics=metrics,
            verdicts=verdicts,
            **tables,
        )
    )


def _newest(connection: Connection, query: str) -> Sequence[Row[Any]]:
    return connection.execute(text(query), {"newest": _NEWEST}).all()


_CHAMPION = """
    select
        champion.model_name, champion.actor, champion.is_override, champion.promoted_at,
        live.agreement, live.agreement_low, live.agreement_high, live.count_frame
    from champion
    left join human_agreement as live
        on live.model_name = champion.model_name
        and live.sample = 'audit' and live.is_blind and live.predicted_class is null"""
"""The live accuracy is the agreement of blind reviewers with the model on the audit sample."""

_METRICS = """
    select
        model_name, test.accuracy, test.accuracy_low, test.accuracy_high, test.count_image, test.tumor_sensitivity,
        validation.accuracy as validation_accuracy
    from model_version
    join training_run using (training_run_id)
    join evaluation as test using (model_version_id, snapshot_id)
    left join evaluation as validation
        on validation.model_version_id = test.model_version_id
        and validation.snapshot_id = test.snapshot_id and validation.split = 'validation'
    where test.split = 'test'"""
"""One row per model: the metrics on the snapshot that the model was trained on."""

_VERDICTS = """
    select distinct on (model_version_id) model_name, is_passed
    from gate_verdict
    join model_version using (model_version_id)
    order by model_version_id, gate_verdict_id desc"""
"""One row per judged model, with its newest verdict."""

_PENDING = """
    select run_key, model_name, judged_at
    from gate_verdict
    join model_version using (model_version_id)
    where is_passed
      and champion_model_version_id is not distinct from (select model_version_id from champion)
      and not exists (select from approval_decision where gate_verdict_id = gate_verdict.gate_verdict_id)
      and not exists (select from promotion where gate_verdict_id = gate_verdict.gate_verdict_id)
    order by gate_verdict_id desc"""
"""The passed candidates that were compared with the champion and have no decision."""

_RETRAIN_RUNS = """
    with approval as (
        select
            gate_verdict_id,
            string_agg(person || ': ' || answer, ', ' order by answered_at) as decisions,
            string_agg(answer, ', ' order by answered_at) as answers
        from approval_decision
        group by gate_verdict_id
    )
    select
        run_key, model_name, is_passed, summary, judged_at, coalesce(decisions, '') as decisions,
        coalesce(answers, '') as answers
    from gate_verdict
    join model_version using (model_version_id)
    left join approval using (gate_verdict_id)
    order by gate_verdict_id desc
    limit :newest"""
"""One row per verdict, with its approval decisions."""

_SCORING_RUNS = """
    select scoring_run_id, run_key, level::text as level, count_arrived, count_rejected, scoring_run.started_at
    from scoring_run_summary
    join scoring_run using (scoring_run_id)
    order by scoring_run_id desc
    limit :newest"""

_RESCORES = """
    select scoring_run_id, run_key, model_name, actor, reason, count_asked, asked_at
    from rescore_run
    join scoring_run using (scoring_run_id)
    join model_version using (model_version_id)
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


_TABLES = {
    "retrain_runs": _RETRAIN_RUNS,
    "scoring_runs": _SCORING_RUNS,
    "rescores": _RESCORES,
    "promotions": _PROMOTIONS,
    "snapshots": _SNAPSHOTS,
}
"""The tables of the page: variable of the template -> query."""


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"figure": figure, "time": "{:%Y-%m-%d %H:%M}".format, "quoted": partial(quote, safe="")}
    environment.filters |= {
        "comparison": partial(run_path, page=RUN_COMPARISON),
        "flip_preview": partial(run_path, page=FLIP_PREVIEW),
        "rescore_report": partial(run_path, page=RESCORE_REPORT),
        "run_report": partial(run_path, page=RUN_STATUS),
    }
    environment.globals |= {"recipe": recipe, "snapshot_path": snapshot_path, "is_dag_run": is_dag_run}
    return environment
