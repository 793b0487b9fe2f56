"""Call the helpers of the DAG files, in a process that has imported Airflow."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import psutil

from braintumor import errors
from braintumor.config.settings import Settings


def missing_connection() -> tuple[bool, str]:
    """Return whether the error of a missing connection is the project's own, and its message."""
    from common import settings_for

    try:
        settings_for("scorer")
    except Exception as error:
        return isinstance(error, errors.BrainTumorError), str(error)
    return False, ""


def retry_decisions() -> list[tuple[str, str]]:
    """Return the decision of the retry policy for each error."""
    from common import DEFAULT_ARGS

    raised = (
        errors.ObjectStoreUnreachableError, errors.DatabaseUnreachableError, errors.DecoderPoolError,
        errors.UploadUnfinishedError, errors.DatasetError, errors.DatabaseError, errors.ConfigurationError, MemoryError,
    )  # fmt: skip
    policy = DEFAULT_ARGS["retry_policy"]
    return [(error.__name__, policy.evaluate(error("x"), 1, 5, None).action.value) for error in raised]


def trainer_settings() -> Settings:
    from common import settings_for

    return settings_for("trainer")


def overrides_of_command(params: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a retrain form as the training command reads them."""
    from training_process import _as_toml, form_overrides

    return tomllib.loads("\n".join(_as_toml(form_overrides(params))))


def children_after_timeout() -> list[str]:
    """Return the child processes of a task that timed out during its training process."""
    from airflow.sdk.exceptions import AirflowTaskTimeout
    from airflow.sdk.execution_time.timeout import timeout

    from training_process import run_command

    try:
        with timeout(1):
            run_command(["sleep", "600"], dict(os.environ))
    except AirflowTaskTimeout:
        return [str(child) for child in psutil.Process().children()]
    raise AssertionError("the task did not time out")


def emitted_uris() -> list[str]:
    """Return the datasets that two tasks add to Airflow's collector. The first task has no database."""
    from airflow.sdk.lineage import get_hook_lineage_collector

    import lineage

    lineage.emit_lineage(Settings(), reads=["scan"])
    settings = Settings(database_url="postgresql://u:p@db.example.org/brain")
    lineage.emit_lineage(settings, reads=["s3://a/x,1/, s3://b/y/", None, "scan"], writes=["prediction"])
    assets = get_hook_lineage_collector().collected_assets
    return [entry.asset.uri for entry in assets.inputs + assets.outputs]
