"""Test that TensorFlow starts silently, also in child processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@pytest.mark.parametrize(("given", "level"), [(None, "2"), ("0", "0")])
def test_tensorflow_is_silent_unless_asked_to_speak(given: str | None, level: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != _LEVEL}
    if given is not None:
        environment[_LEVEL] = given
    command = [sys.executable, "-m", "tests.training.start_tensorflow"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == level
    assert (done.stderr == "") == (given is None)
