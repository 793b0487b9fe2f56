"""What the DAG files share: settings from Airflow's connections, and the rules for retries. No logic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import Connection, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowRuntimeError

if TYPE_CHECKING:
    from braintumor.settings import Settings

OWNER = "braintumor"

RETRIES = 2
RETRY_DELAY = timedelta(minutes=1)
RETRY_POLICY = ExceptionRetryPolicy(
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


def settings() -> Settings:
    """The environment's settings, with Postgres and S3 from Airflow's connections where they are defined."""
    from braintumor.settings import Settings

    return Settings.from_environment().with_connections(
        database=_connection("braintumor_db"), s3=_connection("braintumor_s3")
    )


def _connection(name: str) -> Connection | None:
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(name)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return None


def train_in_subprocess(recipe: str, *, snapshot_id: str, run_key: str, epochs: int | None) -> str:
    """Run ``braintumor train`` in an interpreter of its own, its progress in the task's log; returns the model's name.

    TensorFlow in a forked task can hang, and keeps GPU memory until its process ends: so it gets a process that ends.
    """
    from braintumor.errors import BrainTumorError

    arguments = ["--recipe", recipe, "--snapshot", snapshot_id, "--run-key", run_key]
    arguments += ["--epochs", str(epochs)] if epochs else []
    done = subprocess.run(
        [sys.executable, "-m", "braintumor", "train", "--json", *arguments],
        env={**os.environ, **settings().to_environment()},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BrainTumorError(f"Training {recipe} ended with exit code {done.returncode}; its own words are above.")
    return str(json.loads(done.stdout)["model_name"])
