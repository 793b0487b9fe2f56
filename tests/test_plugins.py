"""Check the error responses and the limits of the pages in Airflow."""

from __future__ import annotations

import importlib
import re

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.errors import (
    BrainTumorError,
    ConfigurationError,
    DatabaseUnreachableError,
    EvaluationError,
    ModelIntegrityError,
    ObjectMissingError,
    ObjectStoreUnreachableError,
    ReviewError,
)
from braintumor.scoring.run_report.status import Alert, Level, Reason
from devstack.stack import Stack
from tests import plugin_functions
from tests.airflow_process import AirflowProcess
from tests.conftest import as_role
from tests.plugin_functions import PLUGINS


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
def test_error_response_distinguishes_missing_from_unavailable(
    error: BrainTumorError, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    common = importlib.import_module("braintumor_common")
    app = FastAPI(exception_handlers=common.EXCEPTION_HANDLERS)

    @app.get("/")
    def page() -> None:
        raise error

    app.post("/")(page)
    client = TestClient(app)
    response = client.get("/")
    assert (response.status_code, response.json()) == (status, {"detail": str(error)})
    assert client.post("/").status_code == (422 if isinstance(error, ReviewError) else status)
    assert response.headers["Cache-Control"] == "private, no-store"


def test_person_without_session_gets_login_link_back(monkeypatch: pytest.MonkeyPatch) -> None:
    client = failing_app(monkeypatch, HTTPException(401, "Not authenticated"))
    page = client.get("/braintumor/reports/compare?model=a&model=b", headers=HTML)
    back = "%2Fbraintumor%2Freports%2Fcompare%3Fmodel%3Da%26model%3Db"
    assert (page.status_code, page.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
    assert f'<a href="/api/v2/auth/login?next={back}">Sign in and return to this page</a>' in page.text
    assert "All models" not in page.text, "it would only lead to another 401"
    assert "Sign in to Airflow in another tab" in client.get("/braintumor/reports/compare").json()["detail"]


def test_token_of_an_earlier_secret_leads_to_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    page = failing_app(monkeypatch, HTTPException(403, "Invalid JWT token")).get(
        "/braintumor/reports/compare", headers=HTML
    )
    assert page.status_code == 401 and "Sign in and return to this page" in page.text


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (HTTPException(403, "Forbidden"), 403, "You have no permission for this page"),
        (HTTPException(404, "There is no report."), 404, "This page does not exist"),
        (ObjectMissingError("gone <b>"), 404, "This page does not exist"),
        (ModelIntegrityError("no such model"), 404, "This page does not exist"),
        (EvaluationError("Select two models."), 422, "The request is not valid"),
        (DatabaseUnreachableError("away"), 503, "This page is not available now"),
    ],
)
def test_people_get_errors_as_pages(error: Exception, status: int, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = failing_app(monkeypatch, error).get("/braintumor/reports/compare", headers=HTML)
    assert page.status_code == status and f'<h1 class="first">{title}</h1>' in page.text
    assert "<b>" not in page.text and "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert ("Try again" in page.text) == (status == 503)
    assert '<a href="/braintumor/reports/">All models</a>' in page.text


def test_page_with_invalid_value_says_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"loc": ("query", "page"), "msg": "Input should be less than or equal to 1000"}
    page = failing_app(monkeypatch, RequestValidationError([wrong])).get("/braintumor/reports/compare", headers=HTML)
    assert page.status_code == 422 and "page: Input should be less than or equal to 1000. Correct it." in page.text


HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def failing_app(monkeypatch: pytest.MonkeyPatch, error: Exception) -> TestClient:
    """Return a client of an app that is mounted like the reports, and raises ``error`` on each page."""
    monkeypatch.syspath_prepend(PLUGINS)
    reports = FastAPI(exception_handlers=importlib.import_module("braintumor_common").EXCEPTION_HANDLERS)

    @reports.get("/compare")
    def page() -> None:
        raise error

    airflow = FastAPI()
    airflow.mount("/braintumor/reports", reports)
    return TestClient(airflow)


def test_runbook_page_has_the_anchor_of_each_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    guides = importlib.import_module("braintumor_guides")
    page = guides.guide_page("runbook")
    for alert in Alert:
        file, _, anchor = Reason(Level.AMBER, alert, "").section.partition("#")
        assert file == "docs/runbook.md", "the route of the reports' app has this path"
        assert f'<h2 id="{anchor}">' in page
    assert guides.guide_page("no-such-page") is None


def test_data_dictionary_page_finds_views_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    guides = importlib.import_module("braintumor_guides")
    page = guides.guide_page("data-dictionary")
    assert '<input type="search" name="find" value=""' in page
    assert '<h3 id="current_prediction">' in page and '<h3 id="champion">' in page
    found = guides.guide_page("data-dictionary", find="CONFIDENCE_INDEX")
    assert re.findall('<h3 id="(.*?)">', found) == ["drift_weekly"] and 'value="CONFIDENCE_INDEX"' in found
    none = guides.guide_page("data-dictionary", find='"><script>')
    assert "0 of " in none and "<script>" not in none and "Show all" in none


def test_guide_page_contains_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    guides = importlib.import_module("braintumor_guides")
    assert 'src="data:image/png;base64,iVBOR' in guides.guide_page("reviewer")
    assert 'type="search"' not in guides.guide_page("reviewer")


def test_both_apps_use_the_exception_handlers() -> None:
    for name in ("braintumor_reports", "braintumor_review"):
        assert "exception_handlers=EXCEPTION_HANDLERS" in (PLUGINS / f"{name}.py").read_text()


VALID = ["/", "/?page=1000&model=vgg16-2026.1", "/frame/1/0", f"/frame/{2**63 - 1}/{2**31 - 1}", "/image/1/0.png"]
"""These requests reach the database, which is not reachable in the test, so the status is 503."""
INVALID = [
    "/?page=-1",
    "/?page=1001",
    f"/?page={10**30}",
    "/?page=x",
    "/?tab=x",
    "/?day=2026-13-01",
    "/?class=x",
    "/?reason=x",
    "/?model=a%00b",
    "/?model=%3Cscript%3E",
    f"/?model={'m' * 201}",
    "/frame/0/0",
    "/frame/-1/0",
    f"/frame/{2**63}/0",
    "/frame/1/-1",
    f"/frame/1/{2**31}",
    "/frame/1/0?session=0",
    f"/frame/1/0?session={2**63}",
    "/frame/1/0?model=a%00b",
    f"/image/{2**63}/0.png",
    "/thumbnail/0/0.png",
    f"/map/1/{2**31}.png",
]
REVIEW = {"request_key": "0123456789abcdef", "scan_id": 1, "frame_index": 0, "model_version_id": 1, "finding": "normal"}
INVALID_REVIEWS: list[dict[str, object]] = [
    {"scan_id": 0},
    {"scan_id": 2**63},
    {"frame_index": 2**31},
    {"model_version_id": 2**63},
    {"session_id": 2**63},
    {"request_key": "0123456789abcde\0"},
]
REPORTS = {
    "/model/vgg16-2026.1/report.html": 503,
    "/model/a%00b/report.html": 422,
    "/model/%0A/model_card.md": 422,
    "/model/vgg16-2026.1/evidence.html": 503,
    "/model/a%00b/evidence.json": 422,
    "/compare?model=a&model=b": 503,
    "/compare?model=a": 422,
    "/compare": 422,
    "/compare?model=a&model=%00": 422,
    "/dag/nightly_scoring/run/scheduled__2026-11-29T01:00:00%2B00:00": 307,
    "/dag/braintumor_review/run/x": 404,
    "/docs/runbook.md": 200,
    "/docs/decisions/0029-erasure.md": 200,
    "/docs/no-such-page.md": 404,
    "/docs/..%2Fpyproject.md": 404,
}
_MODELS, _NIGHTS = "GET RUN weekly_retrain", "GET RUN nightly_scoring"
_READER, _REVIEWER = "GET DAG braintumor_review", "PUT DAG braintumor_review"
_EVIDENCE = ["GET AUDIT_LOG weekly_retrain", _NIGHTS, _MODELS]
PERMISSIONS = {
    "GET reports/": [_MODELS],
    "GET reports/compare": [_MODELS],
    "GET reports/dag/{dag_id}/run/{run_id:path}": ["get_user"],
    "GET reports/docs/{name:path}.md": ["get_user"],
    "GET reports/model/{name}/report.html": [_MODELS],
    "GET reports/model/{name}/model_card.md": [_MODELS],
    "GET reports/model/{name}/evidence.html": _EVIDENCE,
    "GET reports/model/{name}/evidence.json": _EVIDENCE,
    "GET reports/runs/{run}/comparison.html": [_MODELS],
    "GET reports/runs/{run}/flip_preview.html": [_NIGHTS, _MODELS],
    "GET reports/runs/{run}/rescore.html": [_NIGHTS, "GET RUN rescore_history"],
    "GET reports/runs/{run}/morning.html": [_NIGHTS],
    "GET reports/snapshots/{snapshot}.html": [_MODELS],
    "GET review/": [_READER],
    "GET review/dashboard": [_READER],
    "GET review/session/{session_id}": [_READER],
    "GET review/frame/{scan_id}/{frame_index}": [_READER],
    "GET review/image/{scan_id}/{frame_index}.png": [_READER],
    "GET review/thumbnail/{scan_id}/{frame_index}.png": [_READER],
    "GET review/map/{scan_id}/{frame_index}.png": [_READER],
    "GET review/{name}": [_READER],
    "POST review/sessions": [_READER, _REVIEWER, "_json_only"],
    "POST review/reviews": [_READER, _REVIEWER, "_json_only"],
    "POST review/retractions": [_READER, _REVIEWER, "_json_only"],
}
"""Method and path of each route -> the permissions that its user needs, and its other dependencies, sorted."""


def test_pages_need_permissions_and_refuse_impossible_values(in_airflow: AirflowProcess) -> None:
    assert in_airflow.call(plugin_functions.permissions) == PERMISSIONS
    reviews = [REVIEW, *(REVIEW | wrong for wrong in INVALID_REVIEWS)]
    names = list(REPORTS)
    got = in_airflow.call(plugin_functions.responses, VALID + INVALID, reviews, names)
    asked = [*VALID, *INVALID, *map(str, reviews), *names]
    expected = [503] * len(VALID) + [422] * len(INVALID) + [503] + [422] * len(INVALID_REVIEWS)
    expected += REPORTS.values()
    assert {each: status for each, (status, _) in zip(asked, got, strict=True)} == dict(
        zip(asked, expected, strict=True)
    )
    assert "Allowed: tab waiting, conflict, second, mine, answered; day" in got[asked.index("/?tab=x")][1]
    refused = [words for status, words in got if status == 503]
    assert all("No usable connection to Postgres" in words for words in refused)
    assert not [words for words in refused if "127.0.0.1" in words or "secret" in words]


def test_pages_have_a_statement_timeout(in_airflow: AirflowProcess, stack: Stack, empty_settings: Settings) -> None:
    environment = as_role(stack, empty_settings, Role.REVIEWER).to_environment()
    assert in_airflow.call(plugin_functions.timeouts, **environment) == ["30s", "30s"]
