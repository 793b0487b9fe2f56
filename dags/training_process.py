"""Run ``braintumor train`` in a subprocess, with the overrides of the retrain form."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braintumor.config.settings import Settings

_log = logging.getLogger(__name__)


def form_overrides(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe values that a person entered in the retrain form.

    The fields ``epochs``, ``dropout`` and ``learning_rate`` replace the same keys in the field ``overrides``.
    """
    fields = {key: params[key] for key in ("epochs", "dropout", "learning_rate") if params[key] is not None}
    return {**params["overrides"], **fields}


def train_in_subprocess(
    settings: Settings, recipe: str, *, snapshot_id: str, run_key: str, overrides: Mapping[str, Any]
) -> str:
    """Run ``braintumor train`` in a subprocess, with output in the task's log, and return the trained model's name.

    A subprocess is needed because TensorFlow can hang in a forked task, and keeps GPU memory until its process ends.

    Raises:
        TrainingError: training failed with an error that a retry cannot solve. Airflow does not retry.
        RuntimeError: the subprocess ended in another way. Airflow retries.
    """
    from braintumor.db import database
    from braintumor.errors import TrainingError
    from braintumor.registry.model_versions import trained_in
    from braintumor.training.recipe import recipe_name

    arguments = ["--recipe", recipe, "--snapshot", snapshot_id, "--run-key", run_key]
    for setting in _as_toml(overrides):
        arguments += ["--set", setting]
    command = [sys.executable, "-m", "braintumor", "train", *arguments]
    exit_code = run_command(command, settings.to_environment(os.environ))
    if exit_code == 1:  # a BrainTumorError that a retry would meet again
        raise TrainingError(f"Training {recipe} failed for the reason above. Fix it, and clear this task.")
    if exit_code != 0:
        raise RuntimeError(f"Training {recipe} ended with exit code {exit_code}. Its output is above.")
    models = trained_in(database.connect(settings), run_key)
    return next(model.model_name for model in models if model.recipe_name == recipe_name(recipe))


def _as_toml(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield each value as ``key=value`` or ``table.key=value`` in TOML. JSON's null becomes ``false``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _as_toml({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            yield f"{key}={json.dumps(value if value is not None else False)}"


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run a command with its output in the task's log, and return its exit code. A stopped task kills the command."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                _log.info("%s", line.rstrip("\n"))
            return process.wait()
        except BaseException:  # Airflow's timeout is not an Exception
            process.kill()  # safe, because a model is registered last, in one transaction
            raise
