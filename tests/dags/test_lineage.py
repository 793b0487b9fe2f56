"""Test the OpenLineage events of a nightly run, which Airflow's provider writes to a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import make_url

from braintumor.config.settings import Settings
from tests.airflow_process import AirflowProcess
from tests.conftest import Put
from tests.dags.common_functions import emitted_uris
from tests.dags.conftest import DagRunner
from tests.images import png


def lineage_file(file: Path) -> dict[str, str]:
    """Return the setting with which Airflow writes OpenLineage events to a file, one per line."""
    transport = json.dumps({"type": "file", "log_file_path": str(file), "append": True})
    return {"AIRFLOW__OPENLINEAGE__TRANSPORT": transport}


@pytest.mark.soak
def test_each_task_emits_lineage_without_object_keys(
    dag_runner: DagRunner, settings: Settings, put: Put, tmp_path: Path
) -> None:
    put("Jane_Doe.png", png())
    put("words.jpg", b"words")
    runner = DagRunner({**dag_runner.environment, **lineage_file(tmp_path / "events")})
    assert runner.run("nightly_scoring", settings) == "success"
    text = (tmp_path / "events").read_text()
    url = make_url(settings.require("database_url"))
    postgres = f"postgres://{url.host}:{url.port}", f"{url.database}.braintumor."
    scans = "s3://braintumor", settings.require("scans_uri").removeprefix("s3://braintumor/").rstrip("/")
    models = "s3://braintumor", settings.require("models_uri").removeprefix("s3://braintumor/").rstrip("/")

    def table(name: str) -> tuple[str, str]:
        return postgres[0], postgres[1] + name

    ended = [event for line in text.splitlines() if (event := json.loads(line))["eventType"] == "COMPLETE"]
    emitted = {
        event["job"]["name"].removeprefix("nightly_scoring."): [
            {(dataset["namespace"], dataset["name"].strip("/")) for dataset in event[side]}
            for side in ("inputs", "outputs")
        ]
        for event in ended
        if "." in event["job"]["name"]
    }
    expected = {
        "discover": ({scans}, {table("scan"), table("scan_location")}),
        "score": ({table("scan"), scans, models}, {table("prediction"), table("rejection")}),
        "reconcile": (
            {table("scan"), table("prediction"), table("rejection"), table("review")},
            {table("scoring_run_summary"), table("live_accuracy_figure")},
        ),
    }
    assert emitted.keys() == expected.keys() | {"plan"}
    reads, writes = set[tuple[str, str]](), set[tuple[str, str]]()
    for name, (inputs, outputs) in expected.items():  # one process, so a task also emits the lineage of earlier tasks
        reads, writes = reads | inputs, writes | outputs
        assert emitted[name] == [reads, writes]
    assert "Doe" not in text and url.password and url.password not in text


def test_lineage_lists_each_prefix_and_errors_fail_no_task(in_airflow: AirflowProcess, tmp_path: Path) -> None:
    emitted, log = in_airflow.call_with_log(emitted_uris, **lineage_file(tmp_path / "events"))
    tables = [f"postgres://db.example.org:5432/brain/braintumor/{name}" for name in ("scan", "prediction")]
    assert emitted == ["s3://a/x,1", "s3://b/y", *tables]
    assert "The lineage of this task cannot be collected. The task continues." in log
