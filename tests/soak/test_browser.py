"""Airflow's pages as a person uses them, in real headless Chromium: the trigger form, and the reports."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from braintumor.imaging.phantom import write_unlabelled
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.settings import Settings
from embedded.stack import Stack
from tests.conftest import move_champion, state_folder

pytestmark = pytest.mark.soak

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def live(seeded: Settings, tiny_model_folder: Path) -> Iterator[Stack]:
    extra = {"BRAINTUMOR_RECIPES": "resnet50_small,vgg16_small"}
    with state_folder() as folder, Stack(folder, extra_env=extra) as stack:
        cache = str(stack.state.folder / "cache")
        settings = replace(Settings.from_environment(stack.library_env()), cache_folder=cache)
        move_champion(seeded, settings, tiny_model_folder)
        for path in write_unlabelled(stack.state.folder / "night", count=3, seed=1):
            uri = S3Uri.parse(settings.require("scans_uri")) / path.name
            ObjectStore.connect(settings).write(uri, path.read_bytes())
        for dag_id in ("weekly_retrain", "nightly_scoring"):
            stack.client().wait_for_dag(dag_id)
            stack.client().unpause(dag_id)
        yield stack


@pytest.fixture
def page(live: Stack) -> Iterator[Page]:
    """A browser logged in as the administrator."""
    if _CHROMIUM is None:
        pytest.skip("no chromium: install Debian's package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        opened = browser.new_page(viewport={"width": 1400, "height": 1300})
        opened.set_default_timeout(60_000)
        opened.goto(live.airflow.url)
        opened.locator("input[name=username]").fill("admin")
        opened.locator("input[name=password]").fill(live.state.secrets.admin_password)
        opened.get_by_role("button", name="Sign in").click()
        opened.wait_for_url(lambda url: "login" not in url)
        yield opened
        browser.close()


def test_the_retrain_form_shows_its_choices_with_their_meaning(live: Stack, page: Page, tmp_path: Path) -> None:
    page.goto(f"{live.airflow.url}/dags/weekly_retrain")
    page.get_by_role("button", name="Trigger").first.click()
    for words in ("Recipes", "Epochs", "Promotion policy", "One model is trained for each"):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.get_by_text("resnet50_small").first).to_be_visible()
    page.screenshot(path=tmp_path / "form.png", full_page=True)
    assert (tmp_path / "form.png").stat().st_size > 10_000


def test_a_night_triggered_from_the_page_ends_green(live: Stack, page: Page) -> None:
    client = live.client()
    page.goto(f"{live.airflow.url}/dags/nightly_scoring")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    deadline = time.monotonic() + 120
    while not (runs := client.request("GET", "/dags/nightly_scoring/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline, "the form started no run"
        time.sleep(1)
    assert client.wait("nightly_scoring", runs[0]["dag_run_id"], timeout_s=240) == "success"


def test_the_models_page_is_in_the_navigation(live: Stack, page: Page) -> None:
    page.goto(f"{live.airflow.url}/braintumor/reports/")
    expect(page.get_by_role("heading", name="Brain-tumour models")).to_be_visible()
    expect(page.get_by_text("champion")).to_be_visible()
    page.goto(live.airflow.url)
    page.get_by_role("button", name="Browse").first.click()
    expect(page.get_by_text("Brain-tumour models").first).to_be_visible()
