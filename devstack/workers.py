"""Run Celery workers as plain processes of one machine. Airflow sees each one as a separate host."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from devstack.service import Service, descendants, kill
from devstack.state import State

NAME: Final = "EMBEDDED_WORKER"
"""Name of the environment variable that holds a worker's name. Other services do not have this variable."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Describe a worker, which runs one task at a time. ``queues`` has the names of its queues, with commas."""

    name: str
    queues: str = "default"


class CeleryWorker:
    """Control one Celery worker of a state folder."""

    def __init__(self, state: State, worker: Worker) -> None:
        self.worker = worker
        self.service = Service(state, f"worker-{worker.name}", stop_signal=signal.SIGTERM, grace_s=3)
        self._log_begins = 0
        self._pid_file = state.folder / "run" / f"worker-{worker.name}.celery"

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the worker with Airflow's environment. Return before it is ready."""
        self._pid_file.unlink(missing_ok=True)  # left by a killed worker, which Celery would consider running
        worker = self.worker
        command = [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs"]
        command += ["--queues", worker.queues, "--concurrency", "1"]
        command += ["--celery-hostname", worker.name, "--pid", str(self._pid_file)]
        size = self.service.log.stat().st_size if self.service.log.exists() else 0
        is_new = self.service.start(command, {**environment, NAME: worker.name})
        self._log_begins = size if is_new else 0

    def wait(self, timeout_s: float) -> None:
        """Wait until the worker accepts tasks.

        Raises:
            ServiceFailedError: the worker ended, or was not ready in time.
        """
        self.service.wait(self._says_ready, timeout_s=timeout_s, poll_s=0.5)

    def die(self) -> None:
        """Kill the worker and all its processes, as if its machine were lost."""
        if process := self.service.process():
            kill([process, *descendants(process)])

    def _says_ready(self) -> bool:
        """Return whether the log since this start says that the worker is ready.

        The log of an earlier worker is in the same file, and is not searched.
        """
        log = self.service.log
        return log.exists() and b" ready." in log.read_bytes()[self._log_begins :]


def environment(broker_url: str, database_url: str) -> dict[str, str]:
    """Return Airflow's settings for Celery workers."""
    return {
        "AIRFLOW__CELERY__BROKER_URL": broker_url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database_url}",
        "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",  # the scheduler's forked publishers can wait for one another
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{__name__}.hostname",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",  # seconds until a lost worker's task is retried
    }


def hostname() -> str:
    """Return the name that Airflow records as a task's host: the name of the worker, or ``localhost`` elsewhere."""
    return os.environ.get(NAME, "localhost")
