"""Call the pages of the plugins, in a process that has imported Airflow."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.review.page import Caller

PLUGINS = Path(__file__).parent.parent / "plugins"


def apps() -> dict[str, Any]:
    """Return the two apps, for a signed-in user with all permissions and without a connection to Postgres."""
    sys.path.insert(0, str(PLUGINS))
    import braintumor_reports
    import braintumor_review

    settings = Settings(database_url="postgresql://reviewer:secret@127.0.0.1:1/braintumor")
    opened = settings, database.connect(settings, statement_seconds=30), None
    modules: dict[Any, tuple[str, ...]] = {
        braintumor_reports: ("_may_read", "_may_see_production", "_may_see_people", "_is_signed_in"),
        braintumor_review: ("_may_read", "_may_write"),
    }
    for module, permissions in modules.items():
        module.opened = lambda: opened
        for name in permissions:
            module.app.dependency_overrides[getattr(module, name).dependency] = lambda: None
    caller = Caller(person="ann", is_reviewer=True, base="/")
    braintumor_review.app.dependency_overrides[braintumor_review._caller] = lambda: caller
    return {"reports": braintumor_reports.app, "review": braintumor_review.app}


def responses(pages: list[str], reviews: list[dict[str, object]], reports: list[str]) -> list[tuple[int, str]]:
    """Return status and text of each response: to the pages and new reviews of the review app, and to the reports."""
    found = apps()
    client, other = TestClient(found["review"]), TestClient(found["reports"])
    got = [client.get(page) for page in pages] + [client.post("/reviews", json=review) for review in reviews]
    got += [other.get(report, follow_redirects=False) for report in reports]
    return [(response.status_code, response.text) for response in got]


def permissions() -> dict[str, list[str]]:
    """Return the permissions that the user of each route needs, and its other dependencies, sorted."""
    return {
        f"{method} {name}{route.path}": sorted(_needed(each.dependency) for each in route.dependencies)
        for name, app in apps().items()
        for route in app.routes
        for method in route.methods
    }


def _needed(dependency: Any) -> str:
    given = inspect.getclosurevars(dependency).nonlocals  # the arguments of requires_access_dag
    entity = getattr(given.get("access_entity"), "name", "DAG")
    return f"{given['method']} {entity} {given['param_dag_id']}" if given else dependency.__name__


def timeouts() -> list[str]:
    """Return the timeouts of a connection of the pages."""
    sys.path.insert(0, str(PLUGINS))
    from braintumor_common import opened
    from sqlalchemy import text

    names = "statement_timeout", "idle_in_transaction_session_timeout"
    with opened()[1].connect() as connection:
        return [connection.scalar(text(f"show {name}")) for name in names]
