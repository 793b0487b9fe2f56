"""Test the trigger form, the approval and the reports in headless Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from braintumor.config.settings import Settings
from braintumor.scoring.job import run_scoring_job
from devstack.stack import Stack
from tests.approval import approval_request
from tests.browser import signed_in
from tests.evaluation.judging import LENIENT
from tests.live_stack import PATIENCE_S, library, live_stack
from tests.runs import put_phantoms
from tests.sql import rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * PATIENCE_S)]

_FORM = {
    "Training": ("Recipes", "One model is trained per recipe.", "S3 prefix of the labeled images"),
    "Overrides, for every recipe": ("Epochs", "Dropout", "Learning rate", "Other values"),
    "Promotion": ("Promotion policy", "Scans of the flip preview"),
}
"""Sections of the retrain form with their fields."""


@pytest.fixture(scope="module")
def live(
    seeded: Settings,
    tiny_model_folder: Path,
    airflow_dump: Path,
    tmp_path_factory: pytest.TempPathFactory,
    phantoms: Path,
) -> Iterator[Stack]:
    """Start a stack with a champion, new scans, labeled images and lenient gate rules."""
    rules = tmp_path_factory.mktemp("rules") / "gate.toml"
    rules.write_text(LENIENT)
    extra = {"BRAINTUMOR_RECIPES": "resnet50_small,vgg16_small", "BRAINTUMOR_GATE_RULES": str(rules)}
    with live_stack(seeded, tiny_model_folder, airflow_dump, extra, labeled=phantoms) as stack:
        put_phantoms(library(stack), stack.state.folder / "night", count=6, seed=1)
        for dag_id in ("weekly_retrain", "nightly_scoring"):
            stack.client().wait_for_dag(dag_id)
            stack.client().unpause(dag_id)
        yield stack


@pytest.fixture
def page(live: Stack) -> Iterator[Page]:
    """Open a browser as the administrator."""
    with signed_in(live, "admin", height=1300, timeout_ms=60_000) as opened:
        yield opened


def test_browser_shows_retrain_form_with_descriptions(live: Stack, page: Page, tmp_path: Path) -> None:
    page.goto(f"{live.airflow.url}/dags/weekly_retrain")
    page.get_by_role("button", name="Trigger").first.click()
    for section, titles in _FORM.items():
        page.get_by_role("button", name=section).click()
        for title in titles:
            expect(page.get_by_role("dialog").get_by_text(title).filter(visible=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "form.png", full_page=True)


def test_nightly_run_triggered_in_browser_succeeds(live: Stack, page: Page) -> None:
    assert state_of_triggered_run(live, page, "nightly_scoring") == "success"


def state_of_triggered_run(live: Stack, page: Page, dag_id: str, section: str = "", **fields: str) -> str:
    """Fill fields of one section of a DAG's form, start a run, and return the run's state after its end."""
    client = live.client()
    page.goto(f"{live.airflow.url}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    if section:
        form.get_by_role("button", name=section).click()
    for name, value in fields.items():
        form.locator(f"[name=element_{name}]").fill(value)
    form.get_by_role("button", name="Trigger").click()
    deadline = time.monotonic() + 120
    while not (runs := client.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline, "the form started no run"
        time.sleep(1)
    return client.wait(dag_id, runs[0]["dag_run_id"], timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def waiting_run(live: Stack) -> str:
    """Start a retrain after a scoring run, and wait for its approval request."""
    client, settings = live.client(), library(live)
    put_phantoms(settings, live.state.folder / "waiting", count=6, seed=7)
    run_scoring_job(settings, run_key="run before the approval")
    run_id = client.trigger("weekly_retrain", {"policy": "ask", "recipes": ["resnet50_small"], "epochs": 2})
    approval_request(client, run_id)
    return run_id


def test_candidate_is_approved_in_browser_after_flip_preview(
    live: Stack, waiting_run: str, page: Page, tmp_path: Path
) -> None:
    client, settings = live.client(), library(live)
    page.goto(
        f"{live.airflow.url}/dags/weekly_retrain/runs/{quote(waiting_run, safe='')}/tasks/approve/required_actions"
    )
    expect(page.get_by_text("selected on validation").first).to_be_visible()
    expect(page.get_by_text("would change").first).to_be_visible()
    page.screenshot(path=tmp_path / "question.png", full_page=True)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="All changes with images, the most severe first").click()
    expect(opened.value.get_by_role("heading", name="Predictions that would change")).to_be_visible()
    opened.value.screenshot(path=tmp_path / "flips.png", full_page=True)
    opened.value.close()
    page.get_by_role("button", name="Approve").click()
    assert client.wait("weekly_retrain", waiting_run, timeout_s=PATIENCE_S) == "success"
    assert rows(settings, "select answer, person from approval_decision") == [("approve", "admin")]
    ((actor,),) = rows(settings, "select actor from champion")
    assert actor == "admin"


@pytest.mark.usefixtures("waiting_run")
def test_models_page_is_in_the_navigation(live: Stack, page: Page, tmp_path: Path) -> None:
    page.goto(f"{live.airflow.url}/braintumor/reports/")
    expect(page.get_by_role("heading", name="Brain-tumor models")).to_be_visible()
    expect(page.get_by_text("champion", exact=True)).to_be_visible()
    page.screenshot(path=tmp_path / "overview.png", full_page=True)
    page.get_by_role("link", name="comparison").first.click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    page.goto(live.airflow.url)
    page.get_by_role("button", name="Browse").first.click()
    expect(page.get_by_text("Brain-tumor models").first).to_be_visible()


def test_champion_is_rolled_back_from_the_form(live: Stack, page: Page, tmp_path: Path) -> None:
    settings = library(live)
    ((approved,),) = rows(settings, "select model_name from champion")
    assert state_of_triggered_run(live, page, "roll_back", "On record", reason="a trial of the form") == "success"
    ((action, reason),) = rows(
        settings, "select action, reason from promotion where action = 'rollback' order by promotion_id desc limit 1"
    )
    assert (action, reason) == ("rollback", "a trial of the form")
    ((champion,),) = rows(settings, "select model_name from champion")
    assert champion != approved
    page.goto(f"{live.airflow.url}/braintumor/reports/")
    expect(page.get_by_text("a trial of the form").first).to_be_visible()
    page.screenshot(path=tmp_path / "rolled_back.png", full_page=True)
