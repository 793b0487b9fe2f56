"""What both plugins' routes ask: settings, database and object store, with the rights of who reads pages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from braintumor.objectstore import ObjectStore
    from braintumor.settings import Settings


@cache
def opened() -> tuple[Settings, Engine, ObjectStore]:
    """Made with the first request, and kept by the api-server's process."""
    from airflow.models.connection import Connection

    from braintumor import database
    from braintumor.objectstore import ObjectStore
    from braintumor.settings import Settings

    made = Settings.from_environment(role="reviewer")
    settings = made.completed(Connection.get_connection_from_secrets, role="reviewer")
    return settings, database.connect(settings), ObjectStore.connect(settings)
