"""Run every command and health check of docker-compose.yaml as a plain process with its own environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from devstack.airflowapi import AirflowClient
from devstack.broker import PROGRAM
from devstack.envfile import variables
from devstack.objectserver import rclone
from devstack.postgres import Postgres, program
from devstack.service import Service
from devstack.state import PROJECT, State, inherited_environment
from tests.compose import check_command, compose_file, variables_of, with_values
from tests.conftest import state_folder
from tests.live_stack import PATIENCE_S

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * PATIENCE_S)]

_LONG_RUNNING = ("redis", "s3", "apiserver", "scheduler", "dag-processor", "triggerer", "worker", "gpu-worker")
_EXTRA = {  # containers have separate addresses and files, but these processes share one machine
    "redis": ["--bind", "127.0.0.1", "--port", "{redis}", "--dir", "{folder}", "--save", ""],
    "apiserver": ["--host", "127.0.0.1", "--port", "{apiserver}"],
    "worker": ["--celery-hostname", "celery@worker", "--pid", "{folder}/worker.pid"],
    "gpu-worker": ["--celery-hostname", "celery@gpu-worker", "--pid", "{folder}/gpu-worker.pid"],
}


class Containers:
    """Run the services of the compose file as processes in one folder."""

    def __init__(self, folder: Path) -> None:
        self.state = State(folder)
        self.values = variables(self.state.secrets)
        self.postgres = Postgres(self.state)
        self.home = folder / "airflow"
        self.services: dict[str, Any] = {}
        self.running: dict[str, Service] = {}

    def read(self) -> None:
        """Read the file once the ports are known, and put this machine's addresses in place of the containers'."""
        ports = {name: self.state.port(name) for name in ("redis", "s3", "apiserver")}
        text = json.dumps(with_values(compose_file()["services"], self.values))
        for name, here in {
            "@postgres:5432/": f"@127.0.0.1:{self.postgres.port}/",
            "@postgres/": f"@127.0.0.1:{self.postgres.port}/",
            "@redis:6379/": f"@127.0.0.1:{ports['redis']}/",
            "http://s3:8333": f"http://127.0.0.1:{ports['s3']}",
            "http://127.0.0.1:8333": f"http://127.0.0.1:{ports['s3']}",
            '":8333"': f'"127.0.0.1:{ports["s3"]}"',
            "http://apiserver:8080/": f"http://127.0.0.1:{ports['apiserver']}/",
            "http://localhost:8080/": f"http://127.0.0.1:{ports['apiserver']}/",
            '"/data"': json.dumps(str(self.state.folder / "data")),
            '"/var/cache/braintumor"': json.dumps(str(self.state.folder / "cache")),
        }.items():
            assert name in text, name
            text = text.replace(name, here)
        self.services = json.loads(text)
        for name, extra in _EXTRA.items():
            filled = [part.format(folder=self.state.folder, **ports) for part in extra]
            self.services[name]["command"] += filled

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a service: its own, and what the Dockerfile sets."""
        folders = [Path(sys.executable).parent, self.state.folder / "bin", Path(program("psql")).parent]
        return {
            "PATH": ":".join([*map(str, folders), os.environ["PATH"]]),
            "AIRFLOW_HOME": str(self.home),
            "PYTHONPATH": f"{self.home}/dags:{PROJECT}",
            "HOSTNAME": name,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            **self.services[name].get("environment", {}),
        }

    def run(self, name: str, command: list[str], **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the environment of a service until it ends."""
        environment = {**inherited_environment(), **self.environment(name), **changed}
        return subprocess.run(
            command, env=environment, cwd=self.state.folder, capture_output=True, text=True, check=False
        )

    def start(self, name: str) -> None:
        """Start the command of a service."""
        command = self.services[name]["command"]
        self.running[name] = Service(self.state, name)
        entrypoint = [str(self.state.folder / "bin" / "rclone")] if name == "s3" else []
        self.running[name].start([*entrypoint, *command], self.environment(name))

    def is_healthy(self, name: str, **changed: str) -> bool:
        """Return whether the health check of a service succeeds."""
        command = check_command(self.services[name])
        if name == "redis":
            command[-1] = command[-1].replace("redis-cli", f"redis-cli -p {self.state.remembered_port('redis')}")
        if name == "postgres":
            command += ["-p", str(self.postgres.port)]
        return self.run(name, command, **changed).returncode == 0

    def wait(self, name: str) -> None:
        """Wait until a service is healthy."""
        self.running[name].wait(lambda: self.is_healthy(name), timeout_s=PATIENCE_S, poll_s=1)


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """Start all services in the order that Compose keeps."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM}: install Debian's package")
    with state_folder() as folder, ExitStack() as at_the_end:
        folder.mkdir()
        started = Containers(folder)
        _lay_out(started)
        started.postgres.start()
        at_the_end.callback(started.postgres.stop)
        started.read()
        started.postgres.service.wait(lambda: started.is_healthy("postgres"), timeout_s=60)
        _make_databases(started)
        for name in _LONG_RUNNING:
            if name == "apiserver":
                script = started.services["init"]["command"]
                done = started.run("init", script)
                assert done.returncode == 0, done.stdout + done.stderr
            started.start(name)
            at_the_end.callback(started.running[name].stop)
            if name in {"redis", "s3"}:
                started.wait(name)
        for name in _LONG_RUNNING:
            started.wait(name)
        yield started


def _lay_out(started: Containers) -> None:
    """Make the folders and programs that the images have."""
    (started.state.folder / "bin").mkdir()
    (started.state.folder / "bin" / "rclone").symlink_to(rclone())
    (started.state.folder / "data").mkdir()
    started.home.mkdir()
    shutil.copytree(PROJECT / "dags", started.home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "plugins", started.home / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "tests" / "soak" / "probe_dag.py", started.home / "dags" / "probe.py")


def _make_databases(started: Containers) -> None:
    """Run the script with which the image sets Postgres up."""
    script = with_values(compose_file()["configs"]["databases"]["content"], started.values)
    for name in ("roles.sql", "limits.sql"):
        assert f"/etc/braintumor/{name}" in script
        script = script.replace(f"/etc/braintumor/{name}", str(PROJECT / "sql" / name))
    server = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(started.postgres.port),
        "PGPASSWORD": started.values["POSTGRES_PASSWORD"],
    }
    done = started.run("postgres", ["bash", "-c", script], **server)
    assert done.returncode == 0, done.stderr
    again = started.run("postgres", ["bash", "-c", script], **server)
    assert again.returncode != 0, "an error in the script must stop the container"


@pytest.mark.parametrize("service", ["postgres", *_LONG_RUNNING])
def test_each_service_becomes_healthy(containers: Containers, service: str) -> None:
    assert containers.is_healthy(service)


@pytest.mark.parametrize(
    ("service", "changed"),
    [
        ("s3", {"RCLONE_CONFIG_HERE_SECRET_ACCESS_KEY": "wrong"}),
        ("s3", {"RCLONE_CONFIG_HERE_ENDPOINT": "http://127.0.0.1:1"}),
        ("scheduler", {"HOSTNAME": "another", "AIRFLOW__CORE__HOSTNAME_CALLABLE": "os.getcwd"}),
        ("worker", {"HOSTNAME": "another"}),
    ],
)
def test_health_check_fails_for_an_unhealthy_service(
    containers: Containers, service: str, changed: Mapping[str, str]
) -> None:
    assert not containers.is_healthy(service, **changed)


def test_task_sees_only_secrets_of_its_worker(containers: Containers) -> None:
    client = AirflowClient(
        f"http://127.0.0.1:{containers.state.remembered_port('apiserver')}",
        "admin",
        containers.values["AIRFLOW_ADMIN_PASSWORD"],
    )
    run_id = client.trigger("probe")
    assert client.wait("probe", run_id, timeout_s=PATIENCE_S) == "success", client.failure_logs("probe", run_id)
    for task, service, roles in (
        ("on_default", "worker", {"scorer", "trainer", "promoter"}),
        ("on_gpu", "gpu-worker", {"trainer"}),
    ):
        path = f"/dags/probe/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
        seen = client.request("GET", path)["value"]
        held = {name for name, value in containers.values.items() if value in seen["environment"]}
        assert held == variables_of(compose_file()["services"][service]["environment"])
        passwords = {f"db_{role}": containers.values[f"{role.upper()}_DB_PASSWORD"] for role in roles}
        found = {name: word for name, word in seen["connections"].items() if word != "AirflowNotFoundException"}
        assert found == {**passwords, "s3": containers.values["S3_SECRET_KEY"]}


def test_each_role_passes_doctor_in_its_service(containers: Containers) -> None:
    roles = {"worker": ("scorer", "trainer", "promoter"), "gpu-worker": ("trainer",), "apiserver": ("reviewer",)}
    for service, role in ((service, role) for service, names in roles.items() for role in names):
        done = containers.run(service, ["braintumor", "doctor", "--role", role, "--json"])
        lines = json.loads(done.stdout)
        wrong = {line["check"] for line in lines if line["state"] == "wrong"}
        expected = {"champion"} if role == "scorer" else set()  # there is no model yet
        assert wrong == expected, done.stdout
