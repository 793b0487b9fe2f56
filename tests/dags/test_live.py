"""Test nightly runs under Airflow's scheduler through its REST API, and the permissions of the reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.dataset.review_labels import rules as label_rules
from braintumor.db import database
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from devstack.airflowapi import AirflowClient
from devstack.stack import Stack
from tests.live_stack import PATIENCE_S, library, live_stack
from tests.runs import put_phantoms
from tests.sql import change, rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * PATIENCE_S)]

_PAGES = ("report.html", "model_card.md")
_PATHS = (*(f"runs/x/{page}.html" for page in ("flip_preview", "rescore", "comparison", "morning")), "snapshots/x.html")


@pytest.fixture(scope="module")
def live(
    seeded: Settings, tiny_model_folder: Path, airflow_dump: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Start a complete stack with the tests' model as champion."""
    rules = tmp_path_factory.mktemp("rules") / "label_rules.toml"
    packaged = Path(label_rules.__file__).with_name("label_rules.toml").read_text()
    rules.write_text(packaged.replace("retrain_after = 100", "retrain_after = 2"))
    environment = {"BRAINTUMOR_RECIPES": "resnet50_small", "BRAINTUMOR_LABEL_RULES": str(rules)}
    with live_stack(seeded, tiny_model_folder, airflow_dump, environment) as stack:
        yield stack


def test_live_nightly_run_scores_once_and_next_finds_nothing(live: Stack, tmp_path: Path) -> None:
    settings = library(live)
    put_phantoms(settings, tmp_path, count=6, seed=3)
    client = live.client()
    for expected_known in (0, 6):
        run_id = client.trigger("nightly_scoring", {"chunk_size": 2})
        state = client.wait("nightly_scoring", run_id, timeout_s=PATIENCE_S)
        assert state == "success", client.failure_logs("nightly_scoring", run_id)
        engine = database.connect(settings)
        with database.transaction(engine) as connection:
            balance = connection.execute(
                text("select * from scoring_run_balance order by scoring_run_id desc limit 1")
            ).one()
            assert connection.scalar(text("select count(*) from prediction")) == 6
        engine.dispose()
        assert (balance.count_known, balance.count_unaccounted) == (expected_known, 0)


def test_task_log_has_ids_as_fields_and_no_object_key(live: Stack) -> None:
    settings, client = library(live), live.client()
    ObjectStore.connect(settings).write(S3Uri.parse(settings.require("scans_uri")) / "Jane_Doe.png", b"words")
    run_id = client.trigger("nightly_scoring", {})
    assert client.wait("nightly_scoring", run_id, timeout_s=PATIENCE_S) == "success"
    tasks = client.task_states("nightly_scoring", run_id)
    events = [event for task in tasks for event in client.log_events("nightly_scoring", run_id, task)]
    ours = [event for event in events if "scoring_run_id" in event]
    (refusal,) = [event for event in ours if "scan_id" in event]
    assert refusal["event"] == "rejected: unsupported_format" and refusal["chunk_number"] == 0
    assert rows(settings, "select scan_id, scoring_run_id from rejection") == [
        (refusal["scan_id"], refusal["scoring_run_id"])
    ]
    assert {event["scoring_run_id"] for event in ours} == {refusal["scoring_run_id"]} and len(ours) > len(tasks)
    assert "Doe" not in str(events)


def test_unpausing_a_dag_starts_no_past_run(live: Stack) -> None:
    client = live.client()
    for dag_id in ("weekly_retrain", "reviewed_labels"):
        client.wait_for_dag(dag_id)
        client.unpause(dag_id)
    assert ended(client, "reviewed_labels") == "success", "the scheduler has had time to start other runs"
    runs = client.request("GET", "/dags/~/dagRuns", params={"limit": 100})["dag_runs"]
    assert {run["run_type"] for run in runs} <= {"manual"}


def test_enough_new_labels_start_one_retrain(live: Stack, tmp_path: Path) -> None:
    settings, client = library(live), live.client()
    put_phantoms(settings, tmp_path, count=6, seed=4)
    run_scoring_job(settings, run_key="run before the labels")
    ((answered,),) = rows(settings, "select count(*) from prediction")
    for dag_id in ("weekly_retrain", "reviewed_labels"):
        client.wait_for_dag(dag_id)
        client.unpause(dag_id)
    assert ended(client, "reviewed_labels") == "success" and retrains(client) == []
    change(
        settings,
        """
        insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
        select reader || scan_id, scan_id, frame_index, model_version_id, reader, 'glioma', 'risk', false
        from prediction, unnest(array['ann', 'bob']) as reader""",
    )
    for _ in range(2):
        assert ended(client, "reviewed_labels") == "success"
    deadline = time.monotonic() + 60
    while not retrains(client) and time.monotonic() < deadline:
        time.sleep(1)
    assert retrains(client) == ["asset_triggered"]
    end_retrains(client)  # another test covers training
    assert rows(settings, "select count(*), count(distinct request_key) from requested_label") == [(answered, 1)]


def ended(client: AirflowClient, dag_id: str) -> str:
    """Start a run, wait for its end, and return its state."""
    return client.wait(dag_id, client.trigger(dag_id, {}), timeout_s=PATIENCE_S)


def retrains(client: AirflowClient) -> list[str]:
    """Return the run type of each retrain."""
    return [run["run_type"] for run in client.request("GET", "/dags/weekly_retrain/dagRuns")["dag_runs"]]


def end_retrains(client: AirflowClient) -> None:
    """End all retrains, because later tests need the machine."""
    for run in client.request("GET", "/dags/weekly_retrain/dagRuns")["dag_runs"]:
        path = f"/dags/weekly_retrain/dagRuns/{quote(run['dag_run_id'], safe='')}"
        client.request("PATCH", path, json={"state": "failed"})


def test_reports_require_permission_for_the_runs(live: Stack) -> None:
    url = f"{live.airflow.url}/braintumor/reports/"
    assert requests.get(url, timeout=30).status_code == 401
    for path in (*(f"model/x/{page}" for page in _PAGES), *_PATHS):
        assert requests.get(f"{url}{path}", timeout=30).status_code == 401
    viewer = AirflowClient(live.airflow.url, "viewer", live.state.secrets.viewer_password)
    response = viewer.send("GET", "/braintumor/reports/")
    model = model_versions.champion(database.connect(library(live)))
    name, store = model.model_name, ObjectStore.connect(library(live))
    for run in ("..", "%2e%2e"):
        assert viewer.send("GET", f"/braintumor/reports/runs/{run}/flip_preview.html", allow=(404,)).status_code == 404
    for page in _PAGES:
        store.write(S3Uri.parse(model.artifact_uri) / page, page.encode())
        assert viewer.send("GET", f"/braintumor/reports/model/{name}/{page}").text == page
    models = S3Uri.parse_prefix(library(live).require("models_uri"))
    for path in _PATHS:
        assert viewer.send("GET", f"/braintumor/reports/{path}", allow=(404,)).status_code == 404
        store.write(models / path, path.encode())
        assert viewer.send("GET", f"/braintumor/reports/{path}").text == path
    assert name in response.text and "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert requests.get(f"{live.airflow.url}/braintumor/reports/openapi.json", timeout=30).status_code in {401, 404}
