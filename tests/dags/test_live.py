"""A night under Airflow's own scheduler, through its REST API; and who may see the reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from braintumor import database, registry
from braintumor.imaging.phantom import write_unlabelled
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.settings import Settings
from embedded.airflowapi import AirflowClient
from embedded.stack import Stack
from tests.live import library, live_stack

_PAGES = ("report.html", "model_card.md")
_PATHS = ("runs/x/flip_preview.html", "runs/x/rescore.html", "runs/x/comparison.html", "snapshots/x.html")


@pytest.fixture(scope="module")
def live(seeded: Settings, tiny_model_folder: Path) -> Iterator[Stack]:
    """A whole stack with the tests' model as its champion."""
    with live_stack(seeded, tiny_model_folder, {"BRAINTUMOR_RECIPES": "resnet50_small"}) as stack:
        yield stack


def test_a_night_runs_under_the_live_scheduler_and_the_next_finds_nothing_new(live: Stack, tmp_path: Path) -> None:
    settings = library(live)
    store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    for path in write_unlabelled(tmp_path, count=6, seed=3):
        store.write(scans / path.name, path.read_bytes())
    client = live.client()
    for expected_known in (0, 6):
        run_id = client.trigger("nightly_scoring", {"chunk_size": 2})
        state = client.wait("nightly_scoring", run_id, timeout_s=240)
        assert state == "success", client.failure_logs("nightly_scoring", run_id)
        engine = database.connect(settings)
        with database.transaction(engine) as connection:
            balance = connection.execute(
                text("select * from scoring_run_balance order by scoring_run_id desc limit 1")
            ).one()
            assert connection.scalar(text("select count(*) from prediction")) == 6
        engine.dispose()
        assert (balance.count_known, balance.count_unaccounted) == (expected_known, 0)


def test_no_scheduled_run_starts_because_a_dag_was_unpaused(live: Stack) -> None:
    client = live.client()
    client.wait_for_dag("weekly_retrain")
    client.unpause("weekly_retrain")
    runs = client.request("GET", "/dags/~/dagRuns", params={"limit": 100})["dag_runs"]
    assert {run["run_type"] for run in runs} <= {"manual"}


def test_reports_are_for_those_who_may_see_the_runs(live: Stack) -> None:
    address = f"{live.airflow.url}/braintumor/reports/"
    assert requests.get(address, timeout=30).status_code == 401
    for path in (*(f"model/x/{page}" for page in _PAGES), *_PATHS):
        assert requests.get(f"{address}{path}", timeout=30).status_code == 401
    viewer = AirflowClient(live.airflow.url, "viewer", live.state.secrets.viewer_password)
    answer = viewer.send("GET", "/braintumor/reports/")
    model = registry.champion(database.connect(library(live)))
    name, store = model.model_name, ObjectStore.connect(library(live))
    for run in ("..", "%2e%2e"):
        assert viewer.send("GET", f"/braintumor/reports/runs/{run}/flip_preview.html", allow=(404,)).status_code == 404
    for page in _PAGES:
        store.write(S3Uri.parse(model.artefact_uri) / page, page.encode())
        assert viewer.send("GET", f"/braintumor/reports/model/{name}/{page}").text == page
    models = S3Uri.parse_prefix(library(live).require("models_uri"))
    for path in _PATHS:
        assert viewer.send("GET", f"/braintumor/reports/{path}", allow=(404,)).status_code == 404
        store.write(models / path, path.encode())
        assert viewer.send("GET", f"/braintumor/reports/{path}").text == path
    assert name in answer.text and "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert requests.get(f"{live.airflow.url}/braintumor/reports/openapi.json", timeout=30).status_code in {401, 404}
