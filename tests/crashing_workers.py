"""Workers in processes of their own that crash at a chosen point, run with ``python -m tests.crashing_workers``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from braintumor.config.settings import Settings
from braintumor.imaging import model_input
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.rescoring import worker as rescoring_worker
from braintumor.rescoring.job import Rescore
from braintumor.scoring.job import ScoringJob


def run_worker(settings: Settings, job: str, crash: str, scoring_run_id: int) -> int:
    """Score chunk 0 of a run in a process, and return its exit code: 0, or -SIGKILL after the crash.

    ``job`` is ``scoring`` or ``rescoring``. The crash ``poison`` happens on reading a file that ends with this word.
    The crash ``second-write`` happens inside the transaction of the second step.
    """
    command = [sys.executable, "-m", "tests.crashing_workers", job, crash, str(scoring_run_id)]
    done = subprocess.run(command, env=settings.to_environment(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


def _crash_on_poison() -> None:
    read = DecoderPool.read

    def read_or_crash(self: DecoderPool, data: bytes, **more: Any) -> Any:
        if data.endswith(b"poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, data, **more)

    DecoderPool.read = read_or_crash  # type: ignore[method-assign]


def _crash_in_second_write() -> None:
    model_input._SCANS_A_STEP = 2
    write, steps = rescoring_worker.write_predictions, list[int]()

    def write_and_crash(*values: Any, **more: Any) -> None:
        write(*values, **more)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    rescoring_worker.write_predictions = write_and_crash


if __name__ == "__main__":
    job, crash, scoring_run_id = sys.argv[1:]
    {"poison": _crash_on_poison, "second-write": _crash_in_second_write}[crash]()
    opened = {"scoring": ScoringJob, "rescoring": Rescore}[job].open(Settings.from_environment())
    opened.score(int(scoring_run_id), 0)
