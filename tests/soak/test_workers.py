"""Test a cluster of Redis, the services and Celery workers, and the loss of a worker during a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from braintumor.config.settings import Settings
from devstack.airflowapi import AirflowClient, TaskState
from devstack.broker import PROGRAM
from devstack.stack import Stack
from devstack.workers import NAME, Worker
from tests.evaluation.judging import LENIENT
from tests.live_stack import PATIENCE_S, library, live_stack
from tests.runs import assert_each_scan_scored_once, assert_no_partial_scans, put_scans
from tests.sql import rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * PATIENCE_S)]

_WORKERS = (Worker(name="lost"), Worker(name="kept"), Worker(name="trainer", queues="gpu"))
_SCANS = 60
_COMPOSE = Path(__file__).parent.parent.parent / "docker-compose.yaml"


@pytest.fixture(scope="module")
def cluster(
    seeded: Settings,
    tiny_model_folder: Path,
    airflow_dump: Path,
    tmp_path_factory: pytest.TempPathFactory,
    phantoms: Path,
) -> Iterator[Stack]:
    """Start two workers for the queue `default`, one for `gpu`, with labeled images and lenient gate rules."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM}: install Debian's package")
    rules = tmp_path_factory.mktemp("rules") / "gate.toml"
    rules.write_text(LENIENT)
    extra = {"BRAINTUMOR_RECIPES": "resnet50_small", "BRAINTUMOR_GATE_RULES": str(rules)}
    with live_stack(seeded, tiny_model_folder, airflow_dump, extra, labeled=phantoms, workers=_WORKERS) as stack:
        for dag_id in ("nightly_scoring", "weekly_retrain"):
            stack.client().wait_for_dag(dag_id)
            stack.client().unpause(dag_id)
        yield stack


def test_training_runs_only_on_the_gpu_worker(cluster: Stack) -> None:
    client = cluster.client()
    run_id = client.trigger("weekly_retrain", {"policy": "auto", "epochs": 1, "preview_scans": 0})
    state = client.wait("weekly_retrain", run_id, timeout_s=PATIENCE_S)
    assert state == "success", client.failure_logs("weekly_retrain", run_id)
    hosts = _hosts(client.task_states("weekly_retrain", run_id))
    assert {task for task in hosts if "trainer" in hosts[task]} == {"candidate.train", "gate"}
    assert all(hosts[task] == {"trainer"} for task in ("candidate.train", "gate"))
    assert rows(library(cluster), "select actor from promotion order by promotion_id desc limit 1") == [
        ("policy auto",)
    ]


@pytest.mark.parametrize("service", ["scheduler", "dag-processor", "worker"])
def test_compose_health_checks_pass_for_running_services(cluster: Stack, service: str) -> None:
    assert check(cluster, service, HOSTNAME="kept")
    stopped = {"HOSTNAME": "stopped", NAME: "stopped"}  # the name of a service that does not run
    assert not check(cluster, service, **stopped)


def test_compose_triggerer_is_healthy_once_it_runs(cluster: Stack, tmp_path: Path) -> None:
    """Start a triggerer, because the stack has none."""
    assert not check(cluster, "triggerer")
    command = [sys.executable, "-m", *services()["triggerer"]["command"], "--skip-serve-logs"]
    environment = {**os.environ, **cluster.airflow.environment(cluster.postgres)}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as run,
    ):
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not check(cluster, "triggerer"):
                assert run.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
        finally:
            run.terminate()


def test_compose_api_server_is_healthy_when_it_responds(cluster: Stack) -> None:
    assert check(cluster, "apiserver", address=cluster.airflow.url)
    assert not check(cluster, "apiserver", address="http://127.0.0.1:1")


def services() -> dict[str, Any]:
    """Return the services of the compose file."""
    services: dict[str, Any] = yaml.safe_load(_COMPOSE.read_text())["services"]
    return services


def check(cluster: Stack, service: str, *, address: str = "", **changed: str) -> bool:
    """Run the health check of the compose file for a service, optionally at another URL."""
    kind, *command = services()[service]["healthcheck"]["test"]
    if kind == "CMD-SHELL":
        command = ["sh", "-c", command[0].replace("$$", "$")]
    if address:
        assert "http://localhost:8080" in command[-1]
        command[-1] = command[-1].replace("http://localhost:8080", address)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **cluster.airflow.environment(cluster.postgres), "PATH": programs, **changed}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def test_nightly_run_survives_loss_of_a_worker(cluster: Stack, tmp_path: Path) -> None:
    client, settings = cluster.client(), library(cluster)
    put_scans(settings, tmp_path, count=_SCANS, seed=11)
    run_id = client.trigger("nightly_scoring", {"chunk_size": 5})
    lost = next(worker for worker in cluster.airflow.workers if worker.worker.name == "lost")
    _wait_until_in_the_middle(client, run_id)
    lost.die()
    assert_no_partial_scans(settings)
    state = client.wait("nightly_scoring", run_id, timeout_s=PATIENCE_S)
    assert state == "success", client.failure_logs("nightly_scoring", run_id)
    tasks = client.task_states("nightly_scoring", run_id)
    assert _hosts(tasks)["score"] == {"lost", "kept"}
    assert [task.host for task in tasks if task.task_id == "score" and task.try_number > 1] == ["kept"]
    assert rows(settings, "select count_scored, count_rejected, count_unaccounted from scoring_run_balance") == [
        (_SCANS, 1, 0)
    ]
    assert_each_scan_scored_once(settings, count_scored=_SCANS, count_rejected=1)


def _wait_until_in_the_middle(client: AirflowClient, run_id: str) -> None:
    """Wait until both workers have scored a chunk, and the worker to lose scores another."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        scores = [task for task in client.task_states("nightly_scoring", run_id) if task.task_id == "score"]
        done = {task.host for task in scores if task.state == "success"}
        at_work = {task.host for task in scores if task.state == "running"}
        if {"lost", "kept"} <= done and "lost" in at_work:
            return
        assert time.monotonic() < deadline, scores
        assert not scores or any(task.state != "success" for task in scores), "the run ended too early"
        time.sleep(0.2)


def _hosts(tasks: list[TaskState]) -> dict[str, set[str]]:
    """Return the hosts of each task, without skipped tasks."""
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for task in tasks:
        if task.host:
            hosts[task.task_id].add(task.host)
    return hosts
