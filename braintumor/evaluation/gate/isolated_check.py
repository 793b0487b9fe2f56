"""A model checked by a process of its own: its graph can end whoever loads it, and no task may load Keras."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from braintumor.config.settings import Settings
from braintumor.errors import TRY_AGAIN, EvaluationError, ObjectStoreUnreachableError
from braintumor.evaluation.gate.gate import RuleOutcome

_PATIENCE_S = 1800
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
"""Signals that say nothing of the model."""


def verify_in_subprocess(settings: Settings, name: str) -> tuple[RuleOutcome, ...]:
    """What ``braintumor model verify NAME`` finds. No GPU is used: what was trained on one is served on a CPU.

    Raises:
        EvaluationError: the check itself could not be made, so nothing is known of the model.
        ObjectStoreUnreachableError: S3 did not answer, or Postgres.
    """
    command = [sys.executable, "-m", "braintumor", "model", "verify", name, "--json"]
    environment = settings.to_environment(os.environ) | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )  # killed with this process' task
    except subprocess.TimeoutExpired as exc:
        raise EvaluationError(
            f"{name} could not be checked within {_PATIENCE_S // 60} minutes, so the gate says nothing of it. Look at "
            "what else this machine does, and clear `gate`."
        ) from exc
    if done.returncode in {0, 1} and done.stdout:
        return tuple(RuleOutcome(**values) for values in json.loads(done.stdout))
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if done.returncode < 0 and -done.returncode not in _FROM_OUTSIDE:
        ended = signal.Signals(-done.returncode).name
        reason = f"the process that loaded it was ended by {ended}: {last}"
        return (RuleOutcome(name="graph_loads", passed=False, bound=0, value=1, reason=reason),)
    if done.returncode == TRY_AGAIN:
        raise ObjectStoreUnreachableError(f"{name} could not be checked: {last}")
    if done.returncode < 0:
        raise RuntimeError(f"The process that checked {name} was ended by signal {-done.returncode}.")
    raise EvaluationError(
        f"{name} could not be checked, so the gate says nothing of it: {last}. Mend the cause, and clear `gate`."
    )
