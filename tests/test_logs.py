"""Test the log of a scoring run, which has run, chunk and scan in each line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from braintumor import logs
from braintumor.config.settings import Settings
from braintumor.config.variables import LOG_FORMAT
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put, run_braintumor
from tests.images import png
from tests.sql import rows


def logged(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def test_each_line_of_a_run_has_ids_and_no_file_name(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("Jane_Doe.png", png())
    put("John_Roe.png", b"not an image")
    monkeypatch.setenv(LOG_FORMAT.name, "json")
    done = run_braintumor(settings, "score")
    events = logged(done.stderr)
    ((run,),) = rows(settings, "select scoring_run_id from scoring_run")
    ((rejected,),) = rows(settings, "select scan_id from rejection")
    assert {event["scoring_run_id"] for event in events} == {run}
    assert [event.get("chunk_number") for event in events] == [None, None, None, 0, 0, 0, None]
    (rejection,) = [event for event in events if "scan_id" in event]
    assert rejection["scan_id"] == rejected
    assert (rejection["level"], rejection["event"]) == ("warning", "rejected: unsupported_format")
    assert rejection["logger"] == "braintumor.scoring.worker" and rejection["timestamp"].endswith("Z")
    assert "Doe" not in done.stderr and "Roe" not in done.stderr


def test_command_writes_no_log_without_the_variable(settings: Settings, put: Put) -> None:
    put("a.png", b"not an image")
    assert logged(run_braintumor(settings, "score").stderr) == []


def test_unknown_format_is_refused_before_any_work(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_FORMAT.name, "xml")
    done = run_braintumor(settings, "score", check=False)
    assert done.returncode == 1 and "BRAINTUMOR_LOG_FORMAT must be json, or unset" in done.stderr
    assert rows(settings, "select * from scoring_run") == []


def test_library_installs_no_log_handler(settings: Settings, put: Put) -> None:
    before = list(logging.getLogger().handlers)
    put("a.png", png())
    run_scoring_job(settings, run_key="one")
    assert logging.getLogger().handlers == before and not logging.getLogger("braintumor").handlers


def test_docstring_example_is_correct() -> None:
    """Runs in a subprocess, because the example configures logging."""
    command = [sys.executable, "-m", "doctest", str(logs.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
