"""Define a DAG that returns what its tasks see, on a worker of each queue. A test copies this file to the DAG files."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import Connection, dag, task


def seen() -> dict[str, Any]:
    connections = {}
    for name in ("db_scorer", "db_trainer", "db_promoter", "db_reviewer", "s3"):
        try:
            connections[name] = Connection.get("braintumor_" + name).password
        except Exception as error:
            connections[name] = type(error).__name__
    return {"environment": "\n".join(os.environ.values()), "connections": connections}


@dag(schedule=None)
def probe() -> None:
    task(queue="default", task_id="on_default")(seen)()
    task(queue="gpu", task_id="on_gpu")(seen)()


probe()
