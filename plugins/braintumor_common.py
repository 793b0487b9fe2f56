"""What both plugins share: settings, database and object store, with the rights of who reads pages, and refusals."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import JSONResponse

from braintumor.errors import BrainTumorError, ObjectStoreError, ObjectStoreUnreachableError, ReviewError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from braintumor.config.settings import Settings
    from braintumor.s3 import ObjectStore

_STATEMENT_SECONDS = 30
"""The longest that a page waits for one statement, because a slow one would keep a thread of the api-server."""


@cache
def opened() -> tuple[Settings, Engine, ObjectStore]:
    """Made with the first request, and kept by the api-server's process."""
    from airflow.models.connection import Connection

    from braintumor.config.settings import Settings
    from braintumor.db import database
    from braintumor.s3 import ObjectStore

    made = Settings.from_environment(role="reviewer")
    settings = made.completed(Connection.get_connection_from_secrets, role="reviewer")
    return settings, database.connect(settings, statement_seconds=_STATEMENT_SECONDS), ObjectStore.connect(settings)


def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answer with the library's own words, which name no key and no patient: 404 for what is not there, else 503."""
    is_away = not isinstance(error, ReviewError | ObjectStoreError) or isinstance(error, ObjectStoreUnreachableError)
    return JSONResponse(
        {"detail": str(error)},
        status_code=503 if is_away else 404,
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
    )


REFUSALS = {BrainTumorError: refuse}
"""For a FastAPI app's ``exception_handlers``."""
