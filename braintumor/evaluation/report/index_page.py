"""Render the index page of the reports: champion, pending decisions, models, runs, promotions and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.evaluation.report.formatting import report_templates
from braintumor.registry.model_versions import list_models
from braintumor.reports.paths import EVIDENCE

_NEWEST = 52
"""Largest number of rows of a table, because a year has 52 weekly retrains."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Hold the rights of a reader of the page.

    Attributes:
        sees_scoring: may see scoring runs.
        sees_rescores: may see rescoring runs, in which old scans are scored with another model.
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
        tables = {name: _newest(connection, text(query)) for name, query in _TABLES.items()}
        tables["retrain_runs"] = _newest(connection, statement("evaluation/newest_verdicts"))
        metrics = {row.model_name: row for row in connection.execute(statement("evaluation/test_metrics"))}
        verdicts = {row.model_name: row.is_passed for row in connection.execute(text(_VERDICTS))}
        pending = connection.execute(statement("evaluation/pending_candidates")).all()
        champion = connection.execute(statement("evaluation/champion_summary")).one_or_none()
        evidenced = set(connection.scalars(text(_EVIDENCED), {"page": EVIDENCE}))
    return (
        report_templates()
        .get_template("overview.html")
        .render(
            reader=reader,
            champion=champion,
            pending=pending,
            models=models[:_NEWEST],
            count_model=len(models),
            metrics=metrics,
            verdicts=verdicts,
            evidenced=evidenced,
            **tables,
        )
    )


def _newest(connection: Connection, query: TextClause) -> Sequence[Row[Any]]:
    return connection.execute(query, {"newest": _NEWEST}).all()


_VERDICTS = """
    select distinct on (model_version_id) model_name, is_passed
    from gate_verdict
    join model_version using (model_version_id)
    order by model_version_id, gate_verdict_id desc"""
"""One row per judged model, with its newest verdict."""

_EVIDENCED = "select model_name from model_version join page on page_uri = artifact_uri || :page"
"""The models with an evidence report."""

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


_TABLES = {"scoring_runs": _SCORING_RUNS, "rescores": _RESCORES, "promotions": _PROMOTIONS, "snapshots": _SNAPSHOTS}
"""Tables of the page: variable of the template -> query."""
