"""Test what a long step shows in a terminal and elsewhere."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
import time

import pytest

from braintumor import logs
from braintumor import progress as module
from braintumor.config.variables import LOG_FORMAT
from braintumor.progress import progress
from tests.progress_step import SECONDS

_STEP = [sys.executable, "-m", "tests.progress_step"]


@pytest.fixture(autouse=True)
def _propagated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lines reach the root logger, even after a test of a command in the same process."""
    monkeypatch.setattr(logging.getLogger("braintumor.progress"), "propagate", True)


@pytest.fixture
def task(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Return the log of a step in a task, with a line every 50 ms instead of every 30 s."""
    monkeypatch.setattr(module, "LINE_INTERVAL_S", SECONDS)
    caplog.set_level(logging.INFO, "braintumor.progress")
    return caplog


def in_terminal(**environment: str) -> list[str]:
    """Run a step of 0.4 s in a terminal, and return each text that it wrote between returns and line ends."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(_STEP, stdout=theirs, stderr=theirs, env={**os.environ, **environment}) as process:
        os.close(theirs)
        received = b""
        try:
            while data := os.read(ours, 4096):
                received += data
        except OSError:  # the terminal is closed
            os.close(ours)
    assert process.returncode == 0, received
    return [text for text in received.decode().replace("\r", "\n").split("\n") if text.strip()]


def test_task_logs_count_and_remaining_time(task: pytest.LogCaptureFixture) -> None:
    with progress("Reading", 40) as advance:
        for _ in range(40):
            time.sleep(SECONDS / 5)
            advance(1)
    assert len(task.messages) >= 3
    assert all(line.startswith("Reading: ") and " of 40 images in 00:0" in line for line in task.messages)
    assert all(line.endswith(" left") for line in task.messages)
    assert task.messages[-1].startswith("Reading: 40 of 40 images")


def test_task_logs_nothing_about_a_short_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "braintumor.progress")
    with progress("Reading", 1) as advance:
        advance(1)
    assert caplog.messages == [] and module.LINE_INTERVAL_S == 30


def test_step_of_unknown_size_shows_its_duration(task: pytest.LogCaptureFixture) -> None:
    with progress("Exporting"):
        time.sleep(3 * SECONDS)
    assert task.messages and all(line.startswith("Exporting: 00:0") for line in task.messages)


def test_step_that_stops_early_ends_as_complete(task: pytest.LogCaptureFixture) -> None:
    with progress("Training", 50, unit="batches") as advance:
        advance(30)
        time.sleep(2 * SECONDS)
    assert task.messages[0].startswith("Training: 30 of 50 batches")
    assert task.messages[-1].startswith("Training: 30 of 30 batches")


def test_failed_step_keeps_its_count_and_error(task: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="broken"), progress("Reading", 50) as advance:
        advance(3)
        time.sleep(2 * SECONDS)
        raise ValueError("broken")
    assert task.messages[-1].startswith("Reading: 3 of 50 images")


def test_step_inside_another_step_shows_nothing(task: pytest.LogCaptureFixture) -> None:
    with progress("Outer", 2) as outer:
        with progress("Inner", 9) as inner:
            inner(9)
            time.sleep(2 * SECONDS)
        outer(2)
    assert task.messages and {line.partition(":")[0] for line in task.messages} == {"Outer"}
    with progress("Next"):
        time.sleep(2 * SECONDS)
    assert task.messages[-1].startswith("Next")


def test_lines_have_the_log_fields_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_INTERVAL_S", SECONDS)
    root = logging.getLogger()
    before, stream = (root.handlers[:], root.level), io.StringIO()
    try:
        logs.to_stream(stream)
        with logs.bound(chunk_number=3), progress("Scoring", 2):
            time.sleep(2 * SECONDS)
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.getLogger("braintumor").setLevel(logging.NOTSET)
    line = json.loads(stream.getvalue().splitlines()[0])
    assert (line["logger"], line["chunk_number"]) == ("braintumor.progress", 3)


def test_terminal_shows_a_bar_and_whole_log_lines() -> None:
    texts = in_terminal()
    assert [text for text in texts if text.startswith("line ")] == ["line 9", "line 19", "line 29", "line 39"]
    bars = [text for text in texts if text.startswith("Reading: ")]
    assert not any("INFO:" in text for text in texts), "the root logger's handler writes the lines a second time"
    assert len(bars) >= 3 and set(texts) == {*bars, "line 9", "line 19", "line 29", "line 39"}
    assert "100%" in bars[-1] and "40 of 40 images" in bars[-1] and bars[-1].endswith(" left")


def test_terminal_with_json_log_shows_no_bar() -> None:
    assert in_terminal(**{LOG_FORMAT.name: "json"}) == []


def test_no_bar_without_a_terminal() -> None:
    done = subprocess.run(_STEP, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert done.stdout == "" and "\r" not in done.stderr and "%" not in done.stderr
    assert "line 39" in lines and any(line.startswith("Reading: ") and line.endswith(" left") for line in lines)
