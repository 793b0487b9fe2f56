"""Check which processes a service ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devstack.errors import ServiceFailedError
from devstack.service import Service, is_alive
from devstack.state import State, inherited_environment, is_port_free
from tests.devstack import service_programs

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


def program(function: Callable[[], None]) -> list[str]:
    """Return the command of a service that calls a function and then runs for 300 s."""
    return [sys.executable, service_programs.__file__, function.__name__]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def test_process_with_reused_pid_is_not_ended(folder: Path, stranger: subprocess.Popen[bytes]) -> None:
    state = State(folder)
    began = psutil.Process(stranger.pid).create_time()
    state.write("run/scheduler", {"pid": stranger.pid, "create_time": began - 3600, "settings": ""})
    service = Service(state, "scheduler")
    assert service.process() is None
    service.stop()
    assert stranger.poll() is None
    assert not (folder / "run" / "scheduler.json").exists()


def test_service_of_another_folder_is_not_ended(folder: Path, tmp_path: Path) -> None:
    mine, theirs = Service(State(folder), "s3"), Service(State(tmp_path), "s3")
    mine.start(SLEEP, {})
    theirs.start(SLEEP, {})
    try:
        mine.stop()
        assert mine.process() is None
        assert theirs.process() is not None
    finally:
        theirs.stop()


def test_start_replaces_process_only_for_new_settings(folder: Path) -> None:
    service = Service(State(folder), "scheduler")
    try:
        assert service.start(SLEEP, {"A": "1"})
        first = service.process()
        assert not Service(State(folder), "scheduler").start(SLEEP, {"A": "1"})
        assert service.start(SLEEP, {"A": "2"})
        second = service.process()
        assert first is not None
        assert second is not None
        assert first.pid != second.pid
        assert not is_alive(first)
    finally:
        service.stop()


def test_stop_ends_children_in_other_sessions(folder: Path) -> None:
    service = Service(State(folder), "scheduler")
    service.start(program(service_programs.start_child), {})
    service.wait(lambda: service.log.stat().st_size > 0, timeout_s=20)
    child = psutil.Process(int(service.log.read_text()))
    process = service.process()
    assert process is not None
    process.kill()  # the parent is gone, so only the mark identifies the child
    process.wait(10)
    assert is_alive(child)
    service.stop()
    assert not is_alive(child)


def test_process_that_ignores_signal_is_killed(folder: Path) -> None:
    service = Service(State(folder), "scheduler", stop_signal=signal.SIGTERM, grace_s=0.5)
    service.start(program(service_programs.ignore_sigterm), {})
    service.wait(lambda: "deaf" in service.log.read_text(), timeout_s=20)
    began = time.monotonic()
    service.stop()
    assert service.process() is None
    assert time.monotonic() - began < 10


def test_early_exit_raises_with_log_tail(folder: Path) -> None:
    service = Service(State(folder), "scheduler")
    service.start([sys.executable, "-c", "raise SystemExit('no database')"], {})
    with pytest.raises(ServiceFailedError, match="ended before it was ready") as caught:
        service.wait(lambda: False, timeout_s=20)
    assert str(service.log) in str(caught.value)
    assert "no database" in str(caught.value)
    service.stop()


def test_wait_raises_after_timeout(folder: Path) -> None:
    service = Service(State(folder), "scheduler")
    service.start(SLEEP, {})
    with pytest.raises(ServiceFailedError, match="was not ready after 1 s"):
        service.wait(lambda: False, timeout_s=1)
    service.stop()


def test_port_is_kept_if_free_and_replaced_if_taken(folder: Path) -> None:
    import socket

    port = State(folder).port("s3")
    assert is_port_free(port)
    assert State(folder).port("s3") == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert State(folder).port("s3") != port


def test_services_inherit_no_setting_of_the_shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRAINTUMOR_DATABASE_URL_SCORER", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_BRAINTUMOR_DB_SCORER"):
        monkeypatch.setenv(name, "of production")
    monkeypatch.setenv("UNRELATED", "kept")
    service = Service(State(folder), "scheduler")
    service.start(program(service_programs.print_environment), {"BRAINTUMOR_RECIPES": "of the stack"})
    try:
        service.wait(lambda: service.log.read_text().endswith("\n"), timeout_s=20)
    finally:
        service.stop()
    found = json.loads(service.log.read_text())
    assert "of production" not in found.values()
    assert (found["UNRELATED"], found["BRAINTUMOR_RECIPES"]) == ("kept", "of the stack")


def test_loopback_bypasses_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert inherited_environment()["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    assert inherited_environment()["no_proxy"] == "example.org,127.0.0.1,localhost"
