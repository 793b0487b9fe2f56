"""Provide a separate Airflow, with its metadata in the session's Postgres and the project's DAGs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.s3 import ObjectStore, S3Uri
from devstack.postgres import AIRFLOW_DATABASE
from devstack.stack import Stack
from tests.evaluation.judging import with_lenient_rules
from tests.shared_state import restore

PROJECT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class DagRunner:
    """Run a DAG with ``dag.test()`` in a subprocess, as `airflow dags test` does.

    It sets no deadline and no failure callback, because ``dag.test()`` fails with them. With a deadline it
    fails after a successful run, with a callback if a param has no default. Live tests cover both.
    """

    environment: dict[str, str]

    def run(self, dag_id: str, settings: Settings, **conf: object) -> str:
        """Run a DAG, print its log, and return the final state of the run."""
        code = (
            "from airflow.dag_processing.dagbag import DagBag\n"
            "from airflow.models.pool import Pool\n"
            "from devstack.airflow import POOLS\n"
            "for name, (slots, description) in POOLS.items():\n"
            "    Pool.create_or_update_pool(name, slots, description, include_deferred=False)\n"
            f"dag = DagBag({str(PROJECT / 'dags')!r}).dags[{dag_id!r}]\n"
            "dag.has_on_failure_callback = False\n"
            f"run = dag.test(run_conf={conf!r}, mark_success_pattern='approve')\n"
            "print('ended as', run.state)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**self.environment, "BRAINTUMOR_RETRAIN_DEADLINE_HOURS": "0", **settings.to_environment()},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        print(done.stdout[-20_000:], done.stderr[-5_000:])
        return done.stdout.rpartition("ended as ")[2].partition("\n")[0].removeprefix("DagRunState.").lower()


@pytest.fixture(scope="session")
def airflow_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a process that imports Airflow and the DAG files. It has no database."""
    return {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "BRAINTUMOR_RECIPES": "resnet50_small",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "dags")]),  # as a DAG bundle does
    }


@pytest.fixture(scope="session")
def dag_runner(stack: Stack, airflow_env: dict[str, str], airflow_dump: Path) -> DagRunner:
    """Create a database with Airflow's tables."""
    url = stack.postgres.create_database("airflow_tests", owner=AIRFLOW_DATABASE)
    restore(airflow_dump, url)
    connection = url.replace("postgresql://", "postgresql+psycopg2://")
    return DagRunner({**airflow_env, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": connection})


@pytest.fixture
def lenient(empty_settings: Settings, tmp_path: Path, phantoms: Path) -> Settings:
    """Provide labeled phantoms in S3, and gate rules that a model of them can pass."""
    prefix = S3Uri.parse(empty_settings.require("dataset_uri"))
    upload(ObjectStore.connect(empty_settings), labeled_files(phantoms), prefix)
    return with_lenient_rules(empty_settings, tmp_path)


def in_airflow(environment: dict[str, str], code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code with Airflow and the DAG helpers, and with only the given settings."""
    base = {name: value for name, value in environment.items() if not name.startswith("BRAINTUMOR_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**base, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
