"""Read connections with Airflow, in a process that has imported it."""

from __future__ import annotations

from typing import Any


def as_airflow_reads(texts: list[str]) -> list[tuple[Any, ...]]:
    """Return login, password, extra and URI of each connection, which is JSON or a URI."""
    from airflow.sdk import Connection

    made = [
        Connection.from_json(text, conn_id="x") if text.startswith("{") else Connection.from_uri(text, conn_id="x")
        for text in texts
    ]
    return [(one.login, one.password, one.extra_dejson, one.get_uri()) for one in made]
