"""The question whether a candidate may be promoted, as a live Airflow asks it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from devstack.airflowapi import AirflowClient
from tests.live import PATIENCE_S

_READ_S = 8  # to read a question; the scheduler reads the executor's words every second or so


def question(client: AirflowClient, run_id: str) -> dict[str, Any]:
    """What a person is asked, once the task waits and the question could have been read: no answer comes quicker.

    Airflow 3.3 takes a task for lost that goes on before the executor's word that it paused was read: it asks again.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        states = {task.task_id: task.state for task in client.task_states("weekly_retrain", run_id)}
        if states.get("approve") == "awaiting_input":
            time.sleep(_READ_S)
            found: dict[str, Any] = client.request("GET", _details(run_id))
            return found
        assert "failed" not in states.values(), client.failure_logs("weekly_retrain", run_id)
        assert time.monotonic() < deadline, states
        time.sleep(1)


def answer(client: AirflowClient, run_id: str, option: str) -> None:
    """Choose ``Approve`` or ``Reject``; after ``question``, which gives Airflow the time that it needs."""
    client.request("PATCH", _details(run_id), json={"chosen_options": [option], "params_input": {}})


def _details(run_id: str) -> str:
    return f"/dags/weekly_retrain/dagRuns/{quote(run_id, safe='')}/taskInstances/approve/-1/hitlDetails"
