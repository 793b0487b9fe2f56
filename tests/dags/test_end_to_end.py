"""Run the DAGs with ``dag.test()`` on real Postgres, real S3 and a small training."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.report.index_page import Reader, overview_page
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import copy_champion
from tests.dags.conftest import DagRunner
from tests.sql import change, rows

pytestmark = pytest.mark.soak


def test_retrain_promotes_passed_model_and_nightly_run_uses_it(
    dag_runner: DagRunner, lenient: Settings, tmp_path: Path
) -> None:
    assert dag_runner.run("weekly_retrain", lenient, policy="auto", epochs=3) == "success"
    engine = database.connect(lenient)
    champion = model_versions.champion(engine)
    assert (champion.recipe_name, champion.initialization) == ("resnet50_small", "random")
    store, artifacts = ObjectStore.connect(lenient), S3Uri.parse(champion.artifact_uri)
    stored = {entry.key.removeprefix(artifacts.key) for entry in store.list(artifacts)}
    assert {"model.xml", "model.bin", "model.weights.h5", "report.html", "plots/confusion.png"} <= stored
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count(*) from model_leaderboard")) == 2
        assert connection.scalar(text("select is_passed from gate_verdict"))
        assert connection.scalar(text("select actor from promotion")) == "policy auto"
        assert connection.scalar(text("select count(*) from approval_decision")) == 0, "no approval was requested"

    models, overview = (
        S3Uri.parse_prefix(lenient.require("models_uri")),
        overview_page(engine, Reader(sees_scoring=True)),
    )
    for link in re.findall(r'href="((?:runs|snapshots)/[^"]+)"', overview):
        assert store.read(models / link)
    pages = set(re.findall(r'href="(\w+)/', overview))
    assert pages == {"docs", "model", "runs", "snapshots"}, "no DAG run and no candidate is linked that does not exist"

    scans = S3Uri.parse(lenient.require("scans_uri"))
    for path in write_unlabeled(tmp_path, count=5, seed=1):
        store.write(scans / path.name, path.read_bytes())
    store.write(scans / "words.jpg", b"words")
    assert dag_runner.run("nightly_scoring", lenient, chunk_size=2) == "success"
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count(*) from current_prediction")) == 5
        assert connection.scalar(text("select count(*) from scoring_chunk")) == 3
    assert dag_runner.run("nightly_scoring", lenient) == "success"
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select count(*) from prediction")) == 5
        connection.execute(text("delete from prediction where scan_id = 1"))
    assert dag_runner.run("nightly_scoring", lenient) == "failed"
    engine.dispose()


def test_failed_preview_promotes_nothing(
    dag_runner: DagRunner, lenient: Settings, seeded: Settings, tiny_model_folder: Path, tmp_path: Path
) -> None:
    copy_champion(seeded, lenient, tiny_model_folder)
    (scan,) = write_unlabeled(tmp_path, count=1, seed=1)
    ObjectStore.connect(lenient).write(S3Uri.parse(lenient.require("scans_uri")) / scan.name, scan.read_bytes())
    run_scoring_job(lenient, run_key="night")
    refuse = (
        "create trigger broken before insert on shadow_prediction for each statement execute function refuse_change()"
    )
    change(lenient, refuse)
    assert dag_runner.run("weekly_retrain", lenient, policy="auto", epochs=1) == "failed"
    assert rows(lenient, "select is_passed from gate_verdict") == [(True,)]
    assert rows(lenient, "select actor from promotion") == [("tests",)]


def test_policy_never_only_records_and_failed_recipe_fails_run(
    dag_runner: DagRunner, lenient: Settings, tmp_path: Path
) -> None:
    no_way_out = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    offline = replace(dag_runner, environment={**dag_runner.environment, "KERAS_HOME": str(tmp_path), **no_way_out})
    recipes = ["mobilenet_v2", "resnet50_small"]  # the weights of the first are not available
    by_hand = {"epochs": 1, "overrides": {"fine_tuning": False, "batch_size": 7}}
    assert offline.run("weekly_retrain", lenient, policy="never", recipes=recipes, **by_hand) == "failed"
    engine = database.connect(lenient)
    models = model_versions.list_models(engine)
    assert [(m.recipe_name, m.recipe_override) for m in models] == [("resnet50_small", {"epochs": 1, "batch_size": 7})]
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select is_passed from gate_verdict"))
        assert connection.scalar(text("select count(*) from promotion")) == 0
    engine.dispose()
