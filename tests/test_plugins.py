"""What the pages in Airflow answer where the library refuses: its words, and a status that tells missing from away."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from braintumor.errors import (
    BrainTumorError,
    ConfigurationError,
    DatabaseUnreachableError,
    ObjectMissingError,
    ObjectStoreUnreachableError,
    ReviewError,
)

PLUGINS = Path(__file__).parent.parent / "plugins"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ReviewError("gone"), 404),
        (ObjectMissingError("gone"), 404),
        (ObjectStoreUnreachableError("away"), 503),
        (DatabaseUnreachableError("away"), 503),
        (ConfigurationError("wrong"), 503),
    ],
)
def test_a_refusal_is_said_and_an_outage_is_no_missing_page(
    error: BrainTumorError, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    opened = importlib.import_module("braintumor_opened")
    app = FastAPI(exception_handlers=opened.REFUSALS)

    @app.get("/")
    def page() -> None:
        raise error

    answer = TestClient(app).get("/")
    assert (answer.status_code, answer.json()) == (status, {"detail": str(error)})
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_both_apps_refuse_so() -> None:
    for name in ("braintumor_reports", "braintumor_review"):
        assert "exception_handlers=REFUSALS" in (PLUGINS / f"{name}.py").read_text()
