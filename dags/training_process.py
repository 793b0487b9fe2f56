"""``braintumor train`` as a task runs it: in an interpreter of its own, by what the retrain form says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braintumor.config.settings import Settings


def set_by_hand(params: Mapping[str, Any]) -> dict[str, Any]:
    """What the retrain form sets instead of the recipes' own values; a field of its own goes before ``overrides``."""
    named = {key: params[key] for key in ("epochs", "dropout", "learning_rate") if params[key] is not None}
    return {**params["overrides"], **named}


def train_in_subprocess(
    found: Settings, recipe: str, *, snapshot_id: str, run_key: str, overrides: Mapping[str, Any]
) -> str:
    """Run ``braintumor train`` in an interpreter of its own, its progress in the task's log; returns the model's name.

    TensorFlow in a forked task can hang, and keeps GPU memory until its process ends: so it gets a process that ends.
    """
    from braintumor.db import database
    from braintumor.errors import TrainingError
    from braintumor.registry.model_versions import trained_in

    arguments = ["--recipe", recipe, "--snapshot", snapshot_id, "--run-key", run_key]
    for setting in _as_toml(overrides):
        arguments += ["--set", setting]
    command = [sys.executable, "-m", "braintumor", "train", *arguments]
    exit_code = run_to_its_end(command, found.to_environment(os.environ))
    if exit_code == 1:  # an error that would come again, and so is not retried; any other is
        raise TrainingError(f"{recipe} came to no model, for the reason above. Mend it, and clear this task.")
    if exit_code != 0:
        raise RuntimeError(f"Training {recipe} ended with exit code {exit_code}; its own words are above.")
    models = trained_in(database.connect(found), run_key)
    return next(model.model_name for model in models if model.recipe_name == recipe)


def _as_toml(values: Mapping[str, Any]) -> Iterator[str]:
    """``key=value`` for each, ``table.key=value`` for those of tables: JSON's plain values are TOML's, but for null."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _as_toml({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            yield f"{key}={json.dumps(value if value is not None else False)}"


def run_to_its_end(command: list[str], environment: dict[str, str]) -> int:
    """Run a command, its output in the task's log; it ends with the task unless that is killed. Returns its code."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                print(line, end="")
            return process.wait()
        except BaseException:  # Airflow's time-out is no Exception
            process.kill()  # nothing is half-written: a model is registered last, in one transaction
            raise
