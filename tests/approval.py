"""Wait for the approval request of a live Airflow, and decide on it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from devstack.airflowapi import AirflowClient
from tests.live_stack import PATIENCE_S

_READ_S = 8
"""Time of a person to read a request. The scheduler reads the executor's events about once per second."""


def approval_request(client: AirflowClient, run_id: str) -> dict[str, Any]:
    """Return the approval request, after the time that a person needs to read it.

    Airflow 3.3 treats a task as lost if it resumes before the scheduler has read that it paused. Then it asks again.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        states = {task.task_id: task.state for task in client.task_states("weekly_retrain", run_id)}
        if states.get("approve") == "awaiting_input":
            time.sleep(_READ_S)
            details: dict[str, Any] = client.request("GET", _details(run_id))
            return details
        assert "failed" not in states.values(), client.failure_logs("weekly_retrain", run_id)
        assert time.monotonic() < deadline, states
        time.sleep(1)


def decide(client: AirflowClient, run_id: str, option: str) -> None:
    """Choose ``Approve`` or ``Reject``. Call ``approval_request`` first, which waits as Airflow needs."""
    client.request("PATCH", _details(run_id), json={"chosen_options": [option], "params_input": {}})


def _details(run_id: str) -> str:
    return f"/dags/weekly_retrain/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
