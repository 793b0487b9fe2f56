"""Share settings, database, object store and error responses between the two plugins."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from braintumor.errors import BrainTumorError, ObjectStoreError, ObjectStoreUnreachableError, ReviewError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from braintumor.config.settings import Settings
    from braintumor.s3 import ObjectStore

_STATEMENT_SECONDS = 30
"""Statement timeout of a page in seconds, because a slow statement blocks a thread of the api-server."""


@cache
def opened() -> tuple[Settings, Engine, ObjectStore]:
    """Return settings, database engine and object store of the role ``reviewer``. A process creates them once."""
    from airflow.models.connection import Connection

    from braintumor.config.settings import Settings
    from braintumor.db import database
    from braintumor.s3 import ObjectStore

    settings = Settings.from_environment(role="reviewer").completed(
        Connection.get_connection_from_secrets, role="reviewer"
    )
    return settings, database.connect(settings, statement_seconds=_STATEMENT_SECONDS), ObjectStore.connect(settings)


def error_response(_: Request, error: Exception) -> JSONResponse:
    """Return the error's message with status 404 or 503.

    The message contains no object key and no patient. The status is 404 if the page or object does not exist, and 503
    if a service is not available.
    """
    is_unavailable = not isinstance(error, ReviewError | ObjectStoreError) or isinstance(
        error, ObjectStoreUnreachableError
    )
    return JSONResponse(
        {"detail": str(error)},
        status_code=503 if is_unavailable else 404,
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"},
    )


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {BrainTumorError: error_response}
"""Exception handlers of the plugins' FastAPI apps."""
