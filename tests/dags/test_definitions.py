"""Test that the DAG files can be parsed, and that their schedules, forms and tasks are as documented."""

from __future__ import annotations

from typing import Any

import pytest

from tests.airflow_process import PROJECT, AirflowProcess
from tests.dags.definition_functions import definitions


@pytest.fixture(scope="session")
def dags(in_airflow: AirflowProcess) -> dict[str, Any]:
    return in_airflow.call(definitions, BRAINTUMOR_RECIPES="vgg16,resnet50,/recipes/own.toml")


def test_each_dag_has_owner_tags_doc_and_failure_callback(dags: dict[str, Any]) -> None:
    scheduled = {"nightly_scoring", "reviewed_labels", "weekly_retrain"}
    assert set(dags) == scheduled | {"braintumor_review", "rescore_history", "roll_back"}
    for dag in dags.values():
        assert dag["owner"] == "braintumor" and "braintumor" in dag["tags"] and len(dag["doc"]) > 200
        assert dag["on_failure"] == "failed"


def test_dags_run_on_schedule_one_at_a_time_without_catchup(dags: dict[str, Any]) -> None:
    crons = {name: dag["cron"] for name, dag in dags.items()}
    by_hand = {"braintumor_review": None, "rescore_history": None, "roll_back": None}
    scheduled = {"nightly_scoring": "0 1 * * *", "reviewed_labels": "30 5 * * *", "weekly_retrain": "0 3 * * 0"}
    assert crons == scheduled | by_hand
    for dag in dags.values():
        assert (dag["catchup"], dag["max_active_runs"], dag["start"]) == (False, 1, None)
    assert {dags[name]["is_paused"] for name in by_hand} == {False}, (
        "they have no schedule, and a triggered run must start"
    )


def test_reviewed_labels_asset_starts_a_retrain(dags: dict[str, Any]) -> None:
    assert {name: dag["waits_for"] for name, dag in dags.items() if dag["waits_for"]} == {
        "weekly_retrain": ["braintumor/reviewed-labels"]
    }
    assert {name: dag["tells"] for name, dag in dags.items() if dag["tells"]} == {
        "nightly_scoring": {"reconcile": ["braintumor/predictions"]},
        "reviewed_labels": {"request_retrain": ["braintumor/reviewed-labels"]},
        "roll_back": {"change_champion": ["braintumor/champion"]},
        "weekly_retrain": {"promote": ["braintumor/champion"]},
    }


def test_retrain_deadline_is_24_hours_without_triggerer(dags: dict[str, Any]) -> None:
    kwargs = {"hours": 24.0, "policy": "ask"}
    assert dags["weekly_retrain"]["deadlines"] == [
        ("DagRunQueuedAtDeadline", 24 * 3600, "SyncCallback", "notifications.late", kwargs)
    ]
    assert [name for name, dag in dags.items() if dag["deadlines"]] == ["weekly_retrain"]


def test_rollback_form_requires_only_a_reason(dags: dict[str, Any]) -> None:
    dag = dags["roll_back"]
    assert (dag["defaults"]["to"], dag["defaults"]["withdraw"]) == (None, False)
    assert dag["params"]["reason"]["type"] == "string" and dag["defaults"]["reason"] is None, "so a reason is required"
    assert dag["params"]["reason"]["minLength"] == 5
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    assert [param["section"] for param in dag["params"].values()] == ["Models", "Models", "On record"]


def test_training_uses_gpu_pool_and_scoring_its_own(dags: dict[str, Any]) -> None:
    train = dags["weekly_retrain"]["tasks"]["candidate.train"]
    assert (train["pool"], train["queue"]) == ("gpu", "gpu")
    assert dags["nightly_scoring"]["tasks"]["score"]["pool"] == "score"
    assert dags["rescore_history"]["tasks"]["score"]["pool"] == "score"
    assert dags["weekly_retrain"]["tasks"]["preview"]["pool"] == "score"


def test_retrain_form_has_choices_in_sections(dags: dict[str, Any]) -> None:
    dag = dags["weekly_retrain"]
    assert {"vgg16", "resnet50", "/recipes/own.toml"} <= set(dag["params"]["recipes"]["items"]["enum"])
    assert dag["params"]["policy"]["enum"] == ["ask", "auto", "never"]
    assert dag["defaults"]["policy"] == "ask" and dag["defaults"]["epochs"] is None
    scans = dag["params"]["preview_scans"]
    assert (dag["defaults"]["preview_scans"], scans["minimum"], scans["maximum"]) == (500, 0, 5000)
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    sections = [param["section"] for param in dag["params"].values()]
    by_hand = ["Overrides, for every recipe"] * 4
    assert sections == ["Training", "Training", *by_hand, "Promotion", "Promotion"]


def test_recipes_are_checked_before_the_snapshot(dags: dict[str, Any]) -> None:
    assert dags["weekly_retrain"]["tasks"]["snapshot"]["after"] == ["recipes"]


def test_preview_precedes_approval_which_is_recorded(dags: dict[str, Any]) -> None:
    after = {name: task["after"] for name, task in dags["weekly_retrain"]["tasks"].items()}
    assert after["preview"] == ["gate"] and "preview" in after["route"] and "route" in after["approve"]
    assert "approve" in after["record_approval"]


def test_rescore_form_requires_reason_and_defaults_to_champion(dags: dict[str, Any]) -> None:
    dag = dags["rescore_history"]
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    sections = [param["section"] for param in dag["params"].values()]
    assert sections == ["Which scans"] * 4 + ["Model"] * 3 + ["Work"]
    reason = dag["params"]["reason"]
    assert (reason["type"], reason["minLength"], dag["defaults"]["reason"]) == ("string", 1, None)
    defaults = {name: value for name, value in dag["defaults"].items() if value is not None}
    assert defaults == {"approve": False, "chunk_size": 1000}
    after = {name: task["after"] for name, task in dag["tasks"].items()}
    assert after["score"] == ["chunks", "open_rescore_run"]
    assert after["report"] == after["reconcile"] == ["open_rescore_run", "score"], (
        "both are at the end, so each can fail the run"
    )


def test_review_dag_says_in_its_name_that_it_never_runs(dags: dict[str, Any]) -> None:
    assert "never runs" in dags["braintumor_review"]["display_name"]
    assert {name for name, dag in dags.items() if dag["display_name"] != name} == {"braintumor_review"}


def test_fields_for_model_names_say_where_names_are(dags: dict[str, Any]) -> None:
    fields = {"nightly_scoring": ["second_model"], "rescore_history": ["of", "model"], "roll_back": ["to"]}
    for dag_id, names in fields.items():
        assert all("page Brain-tumor models" in dags[dag_id]["params"][name]["description"] for name in names)


def test_question_starts_with_the_changed_predictions(dags: dict[str, Any]) -> None:
    body = dags["weekly_retrain"]["question"]
    assert body.index("task_ids='preview'") < body.index("task_ids='gate'")


def test_every_task_has_retries(dags: dict[str, Any]) -> None:
    retries = {name: task["retries"] for dag in dags.values() for name, task in dag["tasks"].items()}
    assert retries.pop("score") == 5, "five tries isolate a scan that kills workers"
    assert {count for name, count in retries.items() if name != "approve"} == {2}


def test_airflowignore_lists_exactly_the_files_without_dags() -> None:
    ignored = set((PROJECT / "dags" / ".airflowignore").read_text().split())
    defines = {path.name for path in (PROJECT / "dags").glob("*.py") if "@dag(" in path.read_text()}
    assert ignored == {path.name for path in (PROJECT / "dags").glob("*.py")} - defines
