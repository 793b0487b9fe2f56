"""Check a registered model in a subprocess.

A corrupt graph can crash the process that loads it, and Airflow tasks must not import Keras.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from braintumor.config.settings import Settings
from braintumor.errors import TRY_AGAIN, EvaluationError, ObjectStoreUnreachableError
from braintumor.evaluation.gate.gate import RuleOutcome

_TIMEOUT_S = 1800
_EXTERNAL_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
"""Signals that a person or the operating system sends. They are no evidence against the model."""


def verify_in_subprocess(settings: Settings, name: str) -> tuple[RuleOutcome, ...]:
    """Run ``braintumor model verify NAME`` in a subprocess and return the outcome of each check.

    The subprocess uses no GPU, because models are served on CPUs.

    Args:
        settings: settings of the subprocess.
        name: name of the model.

    Raises:
        EvaluationError: the check cannot run, crashes (for example with SIGSEGV) or exceeds 30 minutes, so the gate
            has no result.
        ObjectStoreUnreachableError: S3 or Postgres cannot be reached.
        RuntimeError: SIGKILL, SIGTERM or SIGINT ended the subprocess.
    """
    command = [sys.executable, "-m", "braintumor", "model", "verify", name, "--json"]
    environment = settings.to_environment(os.environ) | {"CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as exc:
        raise EvaluationError(
            f"{name} could not be checked within {_TIMEOUT_S // 60} minutes, so the gate has no result. Check the load "
            "of this machine, and clear task `gate`."
        ) from exc
    if done.returncode in {0, 1} and done.stdout:
        return tuple(RuleOutcome(**values) for values in json.loads(done.stdout))
    last = (done.stderr.strip().splitlines() or ["the check printed no error"])[-1]
    if done.returncode == TRY_AGAIN:
        raise ObjectStoreUnreachableError(f"{name} could not be checked: {last}")
    if -done.returncode in _EXTERNAL_SIGNALS:
        raise RuntimeError(f"The process that checked {name} was ended by signal {-done.returncode}.")
    if done.returncode < 0:
        last = f"the process that loaded it was ended by {signal.Signals(-done.returncode).name}: {last}"
    raise EvaluationError(
        f"{name} could not be checked, so the gate has no result: {last}. Fix the cause, and clear task `gate`. If it "
        "happens again, train the model again."
    )
