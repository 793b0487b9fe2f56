"""Run a DAG with ``dag.test()`` and print its final state: ``python -m tests.dags.run_dag DAG_ID CONF``."""

from __future__ import annotations

import json
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.pool import Pool

from devstack.airflow import POOLS
from tests.airflow_process import PROJECT


def main(dag_id: str, conf: dict[str, Any]) -> None:
    for name, (slots, description) in POOLS.items():
        Pool.create_or_update_pool(name, slots, description, include_deferred=False)
    dag = DagBag(str(PROJECT / "dags")).dags[dag_id]
    dag.has_on_failure_callback = False
    run = dag.test(run_conf=conf, mark_success_pattern="approve")
    print("ended as", run.state.value)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
