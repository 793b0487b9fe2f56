"""Run the whole stack: Postgres, an S3 server and optionally Airflow.

::

    with Stack(Path(".devstack")) as stack:
        stack.client().trigger("nightly_scoring", {})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from braintumor.config.redaction import endpoint_of
from devstack.airflow import Airflow, through_connections
from devstack.airflowapi import AirflowClient
from devstack.errors import StackError
from devstack.objectserver import BUCKET, Endpoint, ObjectServer
from devstack.postgres import Postgres
from devstack.service import Service, descendants
from devstack.state import DEFAULT_FOLDER, PROJECT, State
from devstack.workers import Worker

URIS: Final = ("models", "weights", "dataset", "scans")


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """Hold the state of one service. ``pid`` is ``None`` if the service does not run."""

    name: str
    pid: int | None
    memory_mb: int
    log: Path


class Stack:
    """Control the services of one state folder.

    A ``with`` block starts the services that do not run. At its end it stops only the services that it started.

    Args:
        folder: the state folder, which holds all data of the stack.
        airflow: whether to run Airflow too. Tests of the library need only Postgres and S3.
        dags_folder: the DAGs that Airflow runs, by default the project's own.
        extra_env: variables for Airflow's services and tasks. They override the library's own variables.
        workers: Celery workers that run Airflow's tasks, with Redis as broker. If empty, the scheduler runs the tasks.
        triggerer: whether to run Airflow's triggerer, so that Airflow's home page shows no failed service.
        external_s3: an S3 server to use in place of one that the stack starts.
        progress: callback for progress, called with one line at a time.
    """

    def __init__(
        self,
        folder: Path = DEFAULT_FOLDER,
        *,
        airflow: bool = True,
        dags_folder: Path = PROJECT / "dags",
        extra_env: Mapping[str, str] | None = None,
        workers: Sequence[Worker] = (),
        triggerer: bool = False,
        external_s3: Endpoint | None = None,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.state = State(folder)
        self.postgres = Postgres(self.state)
        self.objects = ObjectServer(self.state, external=external_s3)
        self.airflow = Airflow(self.state, dags_folder=dags_folder, run_by=workers, triggerer=triggerer)
        self._with_airflow = airflow
        self._extra_env = dict(extra_env or {})
        self._progress = progress
        self._was_running: set[str] = set()

    def up(self) -> Self:
        """Start the missing services and wait until all respond.

        Raises:
            ServiceFailedError: a service ended or did not respond. The other started services keep running.
        """
        with self.state.lock():
            self._start()
        return self

    def down(self) -> None:
        """Stop everything that runs on this folder, in reverse order, and keep its data."""
        self._stop(self._services())

    def __enter__(self) -> Self:
        self._was_running = {service.name for service in self._services() if service.process()}
        try:
            return self.up()
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def library_env(self) -> dict[str, str]:
        """Return the environment variables of the library's settings."""
        s3 = self.objects.endpoint
        return {
            "BRAINTUMOR_DATABASE_URL": self.postgres.url(),
            "BRAINTUMOR_S3_ENDPOINT": s3.url,
            "BRAINTUMOR_S3_ACCESS_KEY": s3.access_key,
            "BRAINTUMOR_S3_SECRET_KEY": s3.secret_key,
            "BRAINTUMOR_S3_REGION": s3.region,
            "BRAINTUMOR_PSEUDONYM_KEY": self.state.secrets.pseudonym_key,
            **{f"BRAINTUMOR_{name.upper()}_URI": f"s3://{BUCKET}/{name}/" for name in URIS},
        }

    def client(self) -> AirflowClient:
        """Return a client of Airflow's REST API, logged in as the administrator.

        Raises:
            StackError: the stack was created without Airflow.
        """
        if not self._with_airflow:
            raise StackError("This stack was created with airflow=False, so it has no REST API.")
        return self.airflow.client()

    def status(self) -> list[ServiceStatus]:
        """Return the state of each service, with the memory of its process and all descendants."""
        stores = [self.postgres.service, *self.objects.services]
        return [_status(service) for service in (*stores, *(self.airflow.services if self._with_airflow else ()))]

    def _services(self) -> list[Service]:
        return [self.postgres.service, self.objects.service, *self.airflow.services]

    def _start(self) -> None:
        if self.objects.external:
            address = endpoint_of(self.objects.external.settings)
            self._progress(f"Uses the S3 server of BRAINTUMOR_S3_ENDPOINT: {address}")
        self._progress("Postgres and the object server: starting")
        with ThreadPoolExecutor() as executor:
            objects_ready = executor.submit(_ready, self.objects)
            _ready(self.postgres)
            if self._with_airflow:
                self.airflow.prepare(self.postgres, self._progress)
            objects_ready.result()
        if self._with_airflow:
            environment = {**through_connections(self.library_env()), **self._extra_env}
            self.airflow.start(self.postgres, self.objects.endpoint, environment)
            self.airflow.wait(self._progress)

    def _leave(self) -> None:
        self._stop([service for service in self._services() if service.name not in self._was_running])

    def _stop(self, services: list[Service]) -> None:
        with self.state.lock():
            # Not Postgres and Airflow at once, because running tasks record their end in Postgres.
            for step in (self.airflow.services, [self.objects.service], [self.postgres.service]):
                running = [service for service in services if service in step]
                if any(service.process() for service in running):
                    self._progress(f"Stopping {', '.join(service.name for service in running)}")
                with ThreadPoolExecutor() as executor:
                    list(executor.map(Service.stop, running))


def _ready(part: Postgres | ObjectServer) -> None:
    part.start()
    part.wait()


def _status(service: Service) -> ServiceStatus:
    process = service.process()
    family = [process, *descendants(process)] if process else []
    memory = sum(_memory(member) for member in family)
    return ServiceStatus(
        name=service.name, pid=process.pid if process else None, memory_mb=memory // 1_000_000, log=service.log
    )


def _memory(process: psutil.Process) -> int:
    """Return the memory of a process in bytes. Where possible, shared memory is divided among its processes."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", info.uss))
