"""Provide a separate Airflow, with its metadata in the session's Postgres and the project's DAGs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.s3 import ObjectStore, S3Uri
from devstack.postgres import AIRFLOW_DATABASE
from devstack.stack import Stack
from tests.airflow_process import AirflowProcess
from tests.evaluation.judging import with_lenient_rules
from tests.shared_state import restore


@dataclass(frozen=True)
class DagRunner:
    """Run a DAG with ``dag.test()`` in a subprocess, as `airflow dags test` does.

    It sets no deadline and no failure callback, because ``dag.test()`` fails with them. With a deadline it
    fails after a successful run, with a callback if a param has no default. Live tests cover both.
    """

    environment: dict[str, str]

    def run(self, dag_id: str, settings: Settings, **conf: object) -> str:
        """Run a DAG, print its log, and return the final state of the run."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.dags.run_dag", dag_id, json.dumps(conf)],
            env={**self.environment, "BRAINTUMOR_RETRAIN_DEADLINE_HOURS": "0", **settings.to_environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        print(done.stdout[-20_000:], done.stderr[-5_000:])
        return done.stdout.rpartition("ended as ")[2].partition("\n")[0]


@pytest.fixture(scope="session")
def dag_runner(stack: Stack, in_airflow: AirflowProcess, airflow_dump: Path) -> DagRunner:
    """Create a database with Airflow's tables."""
    url = stack.postgres.create_database("airflow_tests", owner=AIRFLOW_DATABASE)
    restore(airflow_dump, url)
    connection = url.replace("postgresql://", "postgresql+psycopg2://")
    own = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": connection, "BRAINTUMOR_RECIPES": "resnet50_small"}
    return DagRunner({**in_airflow.environment, **own})


@pytest.fixture
def lenient(empty_settings: Settings, tmp_path: Path, phantoms: Path) -> Settings:
    """Provide labeled phantoms in S3, and gate rules that a model of them can pass."""
    prefix = S3Uri.parse(empty_settings.require("dataset_uri"))
    upload(ObjectStore.connect(empty_settings), labeled_files(phantoms), prefix)
    return with_lenient_rules(empty_settings, tmp_path)
