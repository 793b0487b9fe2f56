"""Test the demo as a new user runs it, and the numbers that it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import state_folder

pytestmark = pytest.mark.soak


@pytest.mark.timeout(1800)
def test_demo_reaches_its_accuracy_and_stops_its_services() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BRAINTUMOR_")}
    with state_folder() as folder:
        command = [sys.executable, "-m", "devstack", "--state-dir", str(folder)]
        done = subprocess.run([*command, "demo"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        assert "RANDOM initial weights" in done.stdout.splitlines()[0]
        figures = json.loads((folder / "demo.json").read_text())
        assert figures["accuracy"] >= 0.85
        assert figures["accuracy"] - figures["probe"] >= 0.25
        assert figures["map_hits"] >= 0.70
        assert figures["nights"] == [
            "45 seen = 0 scored + 45 known + 0 rejected + 0 ignored + 0 deferred + 0 superseded",
            "45 seen = 43 scored + 0 known + 2 rejected + 0 ignored + 0 deferred + 0 superseded",
        ]
        status = subprocess.run([*command, "status"], env=environment, capture_output=True, text=True, check=False)
        assert status.returncode == 1 and status.stdout.count("stopped") == 6
