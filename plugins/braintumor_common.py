"""Define what the plugins share: settings, database, object store and error responses."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from braintumor.errors import (
    BrainTumorError,
    EvaluationError,
    ModelIntegrityError,
    ObjectStoreError,
    ObjectStoreUnreachableError,
    ReviewError,
)

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


def error_response(request: Request, error: Exception) -> Response:
    """Return a response with the error's message, as an HTML page for people and as JSON for programs.

    The message contains no object key and no patient. The status is 422 if two models cannot be compared, or if a
    review or session that a program sends is refused. It is 404 if a page, a frame, a model or the scored version of an
    object cannot be shown. It is 503 if a service is not available.
    """
    is_refused_write = isinstance(error, ReviewError) and request.method != "GET"
    if isinstance(error, EvaluationError) or is_refused_write:
        status = 422
    elif isinstance(error, ObjectStoreUnreachableError) or not isinstance(error, _NOT_FOUND):
        status = 503
    else:
        status = 404
    return _response(request, status, str(error))


def http_error_response(request: Request, error: HTTPException) -> Response:
    """Return the response of an HTTP error.

    For 401, the page links to the login, which leads back to the same URL, and a program gets the remedy. An invalid
    token is a 401 too.
    """
    status, detail = error.status_code, str(error.detail)
    if status == HTTPStatus.FORBIDDEN and detail == _INVALID_TOKEN:
        status = HTTPStatus.UNAUTHORIZED
    if status == HTTPStatus.UNAUTHORIZED and not _is_page(request):
        detail = "Your session in Airflow has ended. Sign in to Airflow in another tab, then try again."
    return _response(request, status, detail, headers=dict(error.headers or {}))


async def invalid_request_response(request: Request, error: RequestValidationError) -> Response:
    """Return the response to a request with an invalid value: a page for people, FastAPI's response for programs."""
    if not _is_page(request):
        return await request_validation_exception_handler(request, error)
    reasons = "; ".join(sorted({f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()}))
    return _response(request, 422, f"The address has an invalid value. {reasons}. Correct it.")


def _response(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    headers = (headers or {}) | {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
    if not _is_page(request):
        return JSONResponse({"detail": detail}, status_code=status, headers=headers)
    from braintumor.reports.error_page import error_page

    root = request.scope["root_path"].rstrip("/")
    airflow, _, app = root.partition("/braintumor/")
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    page = error_page(
        status,
        detail,
        login=f"{airflow}/api/v2/auth/login?{urlencode({'next': here})}" if status == HTTPStatus.UNAUTHORIZED else "",
        home=(f"{root}/", _HOMES.get(app, "")),
        airflow=f"{airflow}/",
    )
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(page, status_code=status, headers=headers | policy)


def _is_page(request: Request) -> bool:
    """Return whether a person opened the URL in a browser. Only such a request names HTML as an accepted type."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


_INVALID_TOKEN = "Invalid JWT token"
"""Airflow's message, with the status 403, for a cookie that was signed with an earlier secret."""
_HOMES = {"reports": "All models", "review": "Worklist"}
"""Name of the first page of each app."""
_NOT_FOUND = (ReviewError, ObjectStoreError, ModelIntegrityError)

EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    BrainTumorError: error_response,
    HTTPException: http_error_response,
    RequestValidationError: invalid_request_response,
}
"""Exception handlers of the plugins' FastAPI apps."""
