"""Call Airflow's REST API: trigger a DAG, watch its run, read the logs of failed tasks.

::

    run_id = client.trigger("nightly_scoring", {"scans_uri": None})
    state = client.wait("nightly_scoring", run_id, on_change=print)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import requests

from devstack.errors import AirflowAnswerError

FINISHED: Final = frozenset({"success", "failed"})
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """Hold the state of a task, or of one part of a mapped task. ``map_index`` is -1 for a task that is not mapped."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    host: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """Return ``score[3]`` for a part of a mapped task, and ``score`` for another task."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class AirflowClient:
    """Call the REST API of one Airflow with one login."""

    def __init__(self, url: str, username: str, password: str, *, timeout_s: float = 30) -> None:
        self.url = url
        self._login = {"username": username, "password": password}
        self._timeout_s = timeout_s
        self._token: str | None = None

    def health(self) -> dict[str, Any]:
        """Return the api-server's health report on all services. The request needs no login."""
        return dict(self.send("GET", "/api/v2/monitor/health", login=False).json())

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Call the REST API and return the JSON of its response.

        Raises:
            AirflowAnswerError: Airflow refused the request, or did not respond.
        """
        answer = self.send(method, f"/api/v2{path}", **options)
        return answer.json() if answer.content else None

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Create a pool, or set the slots of a pool that exists."""
        pool = {"slots": slots, "description": description, "include_deferred": False}
        known = {known["name"] for known in self.request("GET", "/pools", params={"limit": 100})["pools"]}
        if name in known:
            self.request("PATCH", f"/pools/{name}", json={"pool": name, **pool})
        else:
            self.request("POST", "/pools", json={"name": name, **pool})

    def wait_for_dag(self, dag_id: str, *, timeout_s: float = 120) -> None:
        """Wait until the dag-processor has parsed a DAG.

        Raises:
            AirflowAnswerError: the DAG was not there in time. The message has the import errors.
        """
        deadline = time.monotonic() + timeout_s
        while not self._has_dag(dag_id):
            if time.monotonic() > deadline:
                errors = self.import_errors() or {"(none)": ""}
                listed = "\n".join(f"{file}: {trace}" for file, trace in errors.items())
                raise AirflowAnswerError(f"No DAG {dag_id!r} after {timeout_s:.0f} s. Import errors:\n{listed}")
            time.sleep(0.5)

    def import_errors(self) -> dict[str, str]:
        """Return each DAG file that cannot be imported, with its traceback."""
        found = self.request("GET", "/importErrors", params={"limit": 100})["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def unpause(self, dag_id: str) -> None:
        """Unpause a DAG."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Unpause a DAG once it is parsed, start a run of it, and return the run's id."""
        self.wait_for_dag(dag_id)
        self.unpause(dag_id)
        body = {"logical_date": None, "conf": dict(conf or {})}
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", _run_path(dag_id, run_id))["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Return the state of every task of a run, with one entry for each part of a mapped task."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.request("GET", path, params={"limit": 100, "offset": len(found), "order_by": "id"})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return [_task_state(task) for task in found]

    def wait(
        self,
        dag_id: str,
        run_id: str,
        *,
        on_change: Callable[[TaskState], None] = lambda task: None,
        timeout_s: float = 3600,
        poll_s: float = 1.0,
    ) -> str:
        """Wait for a run to finish. ``on_change`` receives each task whose state changed.

        Returns:
            ``success`` or ``failed``.

        Raises:
            AirflowAnswerError: the run did not finish in time.
        """
        deadline = time.monotonic() + timeout_s
        seen: dict[str, TaskState] = {}
        while True:
            state = self.run_state(dag_id, run_id)
            for task in self.task_states(dag_id, run_id):
                if task.state is not None and seen.get(task.label) != task:
                    on_change(task)
                    seen[task.label] = task
            if state in FINISHED:
                return state
            if time.monotonic() > deadline:
                raise AirflowAnswerError(f"Run {run_id} of {dag_id} is {state!r} after {timeout_s:.0f} s.")
            time.sleep(poll_s)

    def task_log(self, dag_id: str, run_id: str, task: TaskState) -> str:
        """Return the log of a task's last attempt, one line per event."""
        return "\n".join(_log_line(event) for event in self.log_events(dag_id, run_id, task))

    def log_events(self, dag_id: str, run_id: str, task: TaskState) -> list[Any]:
        """Return the log of a task's last attempt. An event is a mapping with all its fields, or a bare line."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{task.task_id}/logs/{max(task.try_number, 1)}"
        answer = self.request("GET", path, params={"map_index": task.map_index, "full_content": True})
        events: list[Any] = answer["content"]
        return events

    def failure_logs(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the logs of failed tasks by label, without the tasks that did not run because another task failed."""
        tasks = self.task_states(dag_id, run_id)
        return {task.label: self.task_log(dag_id, run_id, task) for task in tasks if task.state == "failed"}

    def _has_dag(self, dag_id: str) -> bool:
        answer = self.send("GET", f"/api/v2/dags/{dag_id}", allow=(NOT_FOUND,))
        return answer.status_code != NOT_FOUND

    def send(
        self, method: str, path: str, *, login: bool = True, allow: tuple[int, ...] = (), **options: Any
    ) -> requests.Response:
        """Send one request to any path of the api-server, logged in by default.

        Raises:
            AirflowAnswerError: the response has an error status that is not in ``allow``, or there is no response.
        """
        answer = self._once(method, path, login, options)
        if login and answer.status_code == UNAUTHORIZED:  # the token is a day old, or the secret is new
            self._token = None
            answer = self._once(method, path, login, options)
        if not answer.ok and answer.status_code not in allow:
            raise AirflowAnswerError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:2000]}")
        return answer

    def _once(self, method: str, path: str, login: bool, options: dict[str, Any]) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token or self._new_token()}"} if login else {}
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no netrc
            try:
                return session.request(method, self.url + path, headers=headers, timeout=self._timeout_s, **options)
            except requests.RequestException as exc:
                raise AirflowAnswerError(f"Airflow at {self.url} did not answer {method} {path}: {exc}") from exc

    def _new_token(self) -> str:
        answer = self.send("POST", "/auth/token", login=False, json=self._login)
        self._token = str(answer.json()["access_token"])
        return self._token


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _task_state(task: dict[str, Any]) -> TaskState:
    return TaskState(
        task_id=task["task_id"],
        map_index=task["map_index"],
        state=task["state"],
        try_number=task["try_number"],
        host=task["hostname"],
    )


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    error = "".join(f"\n{_error_text(detail)}" for detail in event.get("error_detail") or [])
    return f"{event.get('timestamp', '')} {event.get('level', '')} {event.get('event', '')}{error}".strip()


def _error_text(detail: dict[str, Any]) -> str:
    own = [frame for frame in detail.get("frames", []) if "/site-packages/airflow/" not in frame["filename"]]
    frames = [f'  File "{frame["filename"]}", line {frame["lineno"]}, in {frame["name"]}' for frame in own]
    return "\n".join([*frames, f"{detail.get('exc_type', '')}: {detail.get('exc_value', '')}"])
