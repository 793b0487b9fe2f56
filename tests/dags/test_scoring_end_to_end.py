"""Run failing scoring runs and a rescore with ``dag.test()`` on real Postgres and real S3."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put
from tests.dags.conftest import DagRunner
from tests.images import png
from tests.models import add_model, promote
from tests.sql import change, rows


@pytest.mark.soak
def test_nightly_run_without_champion_fails(dag_runner: DagRunner, empty_settings: Settings) -> None:
    assert dag_runner.run("nightly_scoring", empty_settings) == "failed"


@pytest.mark.soak
def test_retrain_without_images_fails_and_records_nothing(dag_runner: DagRunner, empty_settings: Settings) -> None:
    assert dag_runner.run("weekly_retrain", empty_settings, policy="auto") == "failed"
    engine = database.connect(empty_settings)
    assert model_versions.list_models(engine) == []
    engine.dispose()


@pytest.mark.soak
def test_nightly_run_with_failed_plan_fails(dag_runner: DagRunner, settings: Settings, put: Put) -> None:
    put("words.jpg", b"words")
    engine = database.connect(settings)
    with database.transaction(engine) as connection:
        connection.execute(
            text("""
            create trigger broken before insert on scoring_chunk for each statement execute function refuse_change()""")
        )
    assert dag_runner.run("nightly_scoring", settings) == "failed"
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select state::text from scoring_run")) == "unbalanced"
    engine.dispose()


@pytest.mark.soak
def test_rescore_predicts_reports_balances_and_can_fail(dag_runner: DagRunner, settings: Settings, put: Put) -> None:
    for number in range(3):
        put(f"{number}.png", png(seed=number))
    run_scoring_job(settings, run_key="night")
    ((first,),) = rows(settings, "select model_name from champion")
    add_model(settings, "b")
    promote(settings, "b")
    asked = {"of": [first], "reason": "b is better", "chunk_size": 2, "since": "2020-01-01T00:00:00Z"}
    assert dag_runner.run("rescore_history", settings, **asked) == "success"
    assert rows(settings, "select distinct model_name from current_prediction") == [("b",)]
    told = "select actor, reason, count_asked, count_rescored from rescore_balance"
    assert rows(settings, told) == [("dag_test", "b is better", 3, 3)]
    store, models = ObjectStore.connect(settings), S3Uri.parse(settings.require("models_uri"))
    assert [entry for entry in store.list(models / "runs/") if entry.key.endswith("rescore.html")]

    assert dag_runner.run("rescore_history", settings, reason="nothing is withdrawn") == "success"
    assert dag_runner.run("rescore_history", settings, reason="unapproved", of=["b"], model=first) == "failed"
    add_model(settings, "c")
    promote(settings, "c")
    change(settings, "create trigger broken before insert on prediction for each row execute function refuse_change()")
    assert dag_runner.run("rescore_history", settings, reason="c is better", of=["b"]) == "failed"
    states = rows(settings, "select state::text from scoring_run where kind = 'rescore' order by scoring_run_id")
    assert states == [("balanced",), ("balanced",), ("unbalanced",)]
