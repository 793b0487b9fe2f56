"""Parse the DAG files, in a process that has imported Airflow."""

from __future__ import annotations

from typing import Any

from tests.airflow_process import PROJECT


def definitions() -> dict[str, dict[str, Any]]:
    """Return what the tests check of each DAG, by its id."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(PROJECT / "dags"))
    assert not bag.import_errors, bag.import_errors
    return {dag.dag_id: _definition(dag) for dag in bag.dags.values()}


def _definition(dag: Any) -> dict[str, Any]:
    params = {name: dag.params.get_param(name) for name in dag.params}
    return {
        "display_name": dag.dag_display_name,
        "owner": dag.owner,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "cron": getattr(getattr(dag.timetable, "timetable", dag.timetable), "expression", None),
        "start": dag.start_date,
        "deadlines": [_deadline(alert) for alert in dag.deadline or []],
        "on_failure": getattr(dag.on_failure_callback, "__name__", None),
        "is_paused": dag.is_paused_upon_creation,
        "params": {name: {**param.schema, "description": param.description} for name, param in params.items()},
        "defaults": dag.params.dump(),
        "question": next((task.body for task in dag.tasks if task.task_id == "approve"), None),
        "waits_for": [asset.name for asset in getattr(dag.timetable.asset_condition, "objects", ())],
        "tells": {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets},
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _deadline(alert: Any) -> tuple[object, ...]:
    interval, callback = alert.interval.total_seconds(), alert.callback
    return type(alert.reference).__name__, interval, type(callback).__name__, callback.path, callback.kwargs


def _task(task: Any) -> dict[str, Any]:
    after = sorted(task.upstream_task_ids)
    return {"pool": task.pool, "queue": task.queue, "retries": task.retries, "after": after}
