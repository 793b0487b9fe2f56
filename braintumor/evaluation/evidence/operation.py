"""Collect what happened to a model in operation: alarms, rejections, promotions, approvals, rollbacks and rescores."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.evaluation.evidence.content import not_assessed, rows
from braintumor.evaluation.model_history import ModelHistory
from braintumor.registry.model_versions import ModelVersion


def alarms(connection: Connection, model: ModelVersion) -> dict[str, Any]:
    """Return the section about the scoring runs of a model: their levels, and each run that was not green."""
    runs = rows(connection, statement("evaluation/evidence_runs"), model)
    if not runs:
        return dict.fromkeys(("runs", "not_green", "rejections"), not_assessed("the model has no finished scoring run"))
    levels = Counter(run["level"] for run in runs)
    return {
        "runs": {
            "count_run": len(runs),
            **{f"count_{level}": levels[level] for level in ("green", "amber", "red")},
            "first_started_at": runs[0]["started_at"],
            "last_started_at": runs[-1]["started_at"],
            "count_scan_scored": sum(run["count_scored"] or 0 for run in runs),
            "count_scan_rejected": sum(run["count_rejected"] or 0 for run in runs),
            "engines": sorted({run["engine"] for run in runs}),
        },
        "not_green": [
            {name: run[name] for name in ("run", "started_at", "level", "reasons")}
            for run in runs
            if run["level"] != "green"
        ],
        "rejections": rows(connection, text(_REJECTIONS), model),
    }


_REJECTIONS = """
    select rejection.reason, count(*) as count_scan
    from rejection join scoring_run using (scoring_run_id)
    where model_version_id = :model and kind = 'night' group by rejection.reason order by rejection.reason"""

_APPROVALS = """
    select answered_at, answer, person, run_key as run
    from approval_decision join gate_verdict using (gate_verdict_id)
    where model_version_id = :model order by answered_at"""


def decisions(connection: Connection, model: ModelVersion, history: ModelHistory) -> dict[str, Any]:
    """Return the section about the decisions of people and policies on a model, with their names and reasons."""
    events = (asdict(event) for event in history.promotions)
    return {
        "promotions": [{name: value for name, value in event.items() if name != "model_name"} for event in events],
        "approvals": rows(connection, text(_APPROVALS), model),
        "rollbacks": rows(connection, statement("evaluation/evidence_rollbacks"), model),
        "rescores": rows(connection, statement("evaluation/evidence_rescores"), model),
    }
