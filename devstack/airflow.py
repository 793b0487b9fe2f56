"""Run Airflow's services as plain processes: api-server, scheduler, dag-processor and optional Celery workers.

Without workers the scheduler runs the tasks itself (LocalExecutor). The triggerer is optional, because this project has
no deferrable operators and no asset watchers. Without a triggerer, Airflow's home page shows it as failed.
"""

from __future__ import annotations

import importlib.metadata
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from braintumor.config.roles import Role
from devstack import workers
from devstack.airflowapi import AirflowClient
from devstack.broker import Broker
from devstack.errors import AirflowAnswerError, ServiceFailedError
from devstack.objectserver import Endpoint
from devstack.postgres import AIRFLOW_DATABASE, Postgres
from devstack.service import Service
from devstack.state import PROJECT, State, inherited_environment, write_private
from devstack.workers import CeleryWorker, Worker

POOLS: Final = {"gpu": (1, "accelerators"), "score": (2, "scoring chunks at a time")}
READY_TIMEOUT_S: Final = 480  # 25 s on two idle cores; a busy machine takes several times that


class Airflow:
    """Control the Airflow services of one state folder, including the Celery workers ``run_by`` and their broker."""

    def __init__(
        self, state: State, *, dags_folder: Path, run_by: Sequence[Worker] = (), triggerer: bool = False
    ) -> None:
        self.state = state
        self.home = state.folder / "airflow"
        self._dags_folder = dags_folder.resolve()
        self.api_server = Service(state, "api-server", stop_signal=signal.SIGINT, grace_s=3)
        self.scheduler = Service(state, "scheduler", stop_signal=signal.SIGTERM, grace_s=3)
        self.dag_processor = Service(state, "dag-processor", stop_signal=signal.SIGINT, grace_s=3)
        self.workers = [CeleryWorker(state, worker) for worker in run_by]
        self.broker = Broker(state) if run_by else None
        self.triggerer = Service(state, "triggerer", stop_signal=signal.SIGINT, grace_s=3) if triggerer else None
        running = [*(worker.service for worker in self.workers), self.api_server, self.dag_processor, self.scheduler]
        running += [self.triggerer] if self.triggerer else []
        self.services = [*running, self.broker.service] if self.broker else running

    @property
    def url(self) -> str:
        """Return the URL of the web pages and the REST API."""
        return f"http://127.0.0.1:{self.state.remembered_port('api-server')}"

    def client(self) -> AirflowClient:
        """Return a REST API client that is logged in as the administrator."""
        return AirflowClient(self.url, "admin", self.state.secrets.admin_password)

    def prepare(self, postgres: Postgres, progress: Callable[[str], None]) -> None:
        """Create Airflow's home folder, logins and tables if they are missing or outdated, and start the broker."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        secrets = self.state.secrets
        logins = {
            "admin": secrets.admin_password,
            "reviewer": secrets.reviewer_password,
            "reviewer2": secrets.reviewer2_password,
            "viewer": secrets.viewer_password,
        }
        write_private(self.home / "passwords.json", json.dumps(logins))
        if self.broker:
            self.broker.start()
            self.broker.wait()
        version = importlib.metadata.version("apache-airflow")
        if postgres.label(AIRFLOW_DATABASE) != version:
            progress("Airflow: creating its tables")
            self._migrate(postgres)
            postgres.set_label(AIRFLOW_DATABASE, version)

    def start(self, postgres: Postgres, s3: Endpoint, extra: Mapping[str, str]) -> None:
        """Start the services. Return before they are ready."""
        if self.api_server.process() is None:
            self.state.port("api-server")
        port = str(self.state.remembered_port("api-server"))
        environment = {**self.environment(postgres), **connections(postgres, s3), **extra}
        command = [sys.executable, "-m", "airflow"]
        self.api_server.start([*command, "api-server", "--host", "127.0.0.1", "--port", port], environment)
        self.dag_processor.start([*command, "dag-processor"], environment)
        self.scheduler.start([*command, "scheduler", "--skip-serve-logs"], environment)
        if self.triggerer:
            self.triggerer.start([*command, "triggerer", "--skip-serve-logs"], environment)
        for worker in self.workers:
            worker.start(environment)

    def wait(self, progress: Callable[[str], None]) -> None:
        """Wait until all services are healthy, and set the pools.

        Raises:
            ServiceFailedError: a service ended, or did not become healthy in time.
        """
        progress(f"Airflow: starting on {self.url}")
        self.api_server.wait(lambda: bool(self._health()), timeout_s=READY_TIMEOUT_S, poll_s=0.5)
        client = self.client()
        for name, (slots, description) in POOLS.items():
            client.set_pool(name, slots, description)
        self.dag_processor.wait(lambda: self._beats("dag_processor"), timeout_s=READY_TIMEOUT_S, poll_s=0.5)
        self.scheduler.wait(lambda: self._beats("scheduler"), timeout_s=READY_TIMEOUT_S, poll_s=0.5)
        if self.triggerer:
            self.triggerer.wait(lambda: self._beats("triggerer"), timeout_s=READY_TIMEOUT_S, poll_s=0.5)
        for worker in self.workers:
            worker.wait(READY_TIMEOUT_S)

    def environment(self, postgres: Postgres) -> dict[str, str]:
        """Return Airflow's settings, for its services and its command line."""
        secrets = self.state.secrets
        database = postgres.url(AIRFLOW_DATABASE, owner=AIRFLOW_DATABASE)
        through_celery = workers.environment(self.broker.url, database) if self.broker else {}
        settings = {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__INSTANCE_NAME": "Brain tumor scoring",
            "AIRFLOW__API__SECRET_KEY": secrets.api_secret_key,
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags_folder),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql://", "postgresql+psycopg2://", 1),
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": str(PROJECT),
        }
        return {**FIXED_SETTINGS, **settings, **through_celery}

    def _migrate(self, postgres: Postgres) -> None:
        log = self.state.log("airflow-migrate")
        environment = {**inherited_environment(), **self.environment(postgres)}
        with log.open("ab") as out:
            command = [sys.executable, "-m", "airflow", "db", "migrate"]
            done = subprocess.run(command, env=environment, stdout=out, stderr=out, cwd=self.home, check=False)
        if done.returncode != 0:
            tail = Service(self.state, "airflow-migrate").log_tail()
            raise ServiceFailedError(f"`airflow db migrate` ended with exit code {done.returncode}. {tail}")

    def _health(self) -> dict[str, Any]:
        try:
            return self.client().health()
        except AirflowAnswerError:
            return {}

    def _beats(self, component: str) -> bool:
        """Return whether a component is healthy by a heartbeat of its current process, not of an earlier process."""
        found = self._health().get(component) or {}
        beat = found.get(f"latest_{component}_heartbeat")
        return found.get("status") == "healthy" and beat is not None and self._is_new(component, beat)

    def _is_new(self, component: str, beat: str) -> bool:
        services = {"dag_processor": self.dag_processor, "scheduler": self.scheduler, "triggerer": self.triggerer}
        service = services[component]
        process = service.process() if service else None
        return process is not None and datetime.fromisoformat(beat).timestamp() > process.create_time() - 1


FIXED_SETTINGS: Final = {
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,reviewer:user,reviewer2:user,viewer:viewer",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # after a killed scheduler
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
}


def through_connections(library_env: Mapping[str, str]) -> dict[str, str]:
    """Return the library's variables, with empty values for Postgres and S3.

    So tasks use the Airflow connections that ``connections`` returns, as on a hospital's servers.
    """
    blank = {name: "" for name in library_env if name.startswith(("BRAINTUMOR_DATABASE_URL", "BRAINTUMOR_S3_"))}
    return {**library_env, **blank}


def connections(postgres: Postgres, s3: Endpoint) -> dict[str, str]:
    """Return environment variables with the Airflow connections that DAGs and pages use.

    Each role of a task or page has a connection to Postgres, and all share one connection to S3. The owner has no
    connection, because no task connects as owner.
    """
    databases = {
        f"AIRFLOW_CONN_BRAINTUMOR_DB_{role.upper()}": postgres.url_as(role)
        for role in (Role.SCORER, Role.TRAINER, Role.PROMOTER, Role.REVIEWER)
    }
    store = {
        "conn_type": "aws",
        "login": s3.access_key,
        "password": s3.secret_key,
        "extra": {"endpoint_url": s3.url, "region_name": s3.region},
    }
    return {**databases, "AIRFLOW_CONN_BRAINTUMOR_S3": json.dumps(store)}
