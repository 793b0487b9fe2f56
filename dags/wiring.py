"""What the DAG files share: settings from Airflow's connections, and the rules for retries. No logic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Asset, Connection, CronTriggerTimetable, ExceptionRetryPolicy, RetryAction, RetryRule

from braintumor.variables import TIMEZONE, Variable

if TYPE_CHECKING:
    from braintumor.settings import Settings

_RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                "braintumor.errors.ObjectStoreUnreachableError",
                "braintumor.errors.DatabaseUnreachableError",
            ],
            action=RetryAction.RETRY,
            reason="S3 or Postgres did not answer; they may again",
        ),
        RetryRule(
            exception="braintumor.errors.BrainTumorError",
            action=RetryAction.FAIL,
            reason="the same input would fail in the same way",
        ),
    ]
)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "braintumor",
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_policy": _RETRY_POLICY,
}


REVIEWED_LABELS = Asset("braintumor/reviewed-labels")
"""Its event: enough labels of people are new for a retrain."""
PREDICTIONS = Asset("braintumor/predictions")
"""Its event: a night's rows are there and balance. What reads the answers can be scheduled on it."""
CHAMPION = Asset("braintumor/champion")
"""Its event: the champion may be another one; a retry that changed nothing says so again."""


def schedule(variable: Variable) -> CronTriggerTimetable:
    """The cron schedule of a variable, in the timezone BRAINTUMOR_TIMEZONE.

    Each date has one run, also where clocks change: a time that is skipped comes later by as much, and one that comes
    twice counts once.

    The DAGs have no start date, and nothing runs at once: otherwise unpausing one would start the run of a time that
    has passed already.
    """
    return CronTriggerTimetable(
        variable.text(),
        timezone=TIMEZONE.text(),
        run_immediately=timedelta(0),
    )


def reports_url() -> str:
    """Where the plugin serves its reports: with Airflow's own address before it where this machine knows that."""
    from airflow.sdk.configuration import conf

    return conf.get("api", "base_url", fallback="").rstrip("/") + "/braintumor/reports"


def settings(role: Literal["scorer", "trainer", "promoter"]) -> Settings:
    """The environment's settings, with Postgres and S3 from Airflow's connections where it names neither.

    Each task names the role that it connects to Postgres as: it can do what its work needs, and no more.
    """
    from braintumor.settings import Settings

    return Settings.from_environment(role=role).completed(_connection, role=role)


def _connection(name: str) -> Connection:
    """Find a connection. Airflow says "not defined" too when it could not be asked: no BrainTumorError, so retried."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name)
    except AirflowNotFoundException as error:
        raise AirflowNotFoundException(
            f"Airflow knows no connection {name!r}, or could not be asked. Define it, or set BRAINTUMOR_DATABASE_URL "
            "and BRAINTUMOR_S3_ENDPOINT (for AWS itself: a connection of type aws without an endpoint_url)."
        ) from error


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
    from braintumor import database
    from braintumor.errors import TrainingError
    from braintumor.registry import trained_in

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
    """Run a command with its output in this task's log; it ends with the task, whatever ends that. Returns its code."""
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
