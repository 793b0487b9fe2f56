"""The DAG files by themselves: they parse, say what they are, and wire what the README says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import DagRunner

PROJECT = Path(__file__).parent.parent.parent

_DUMP = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({folder!r})
assert not bag.import_errors, bag.import_errors
print(json.dumps({{
    dag.dag_id: dict(
        owner=dag.owner, tags=sorted(dag.tags), doc=dag.doc_md,
        catchup=dag.catchup, max_active_runs=dag.max_active_runs,
        cron=getattr(getattr(dag.timetable, "timetable", dag.timetable), "expression", None), start=str(dag.start_date),
        deadlines=[(type(alert.reference).__name__, alert.interval.total_seconds(), type(alert.callback).__name__,
                    alert.callback.path, alert.callback.kwargs) for alert in dag.deadline or []],
        on_failure=getattr(dag.on_failure_callback, "__name__", None), is_paused=dag.is_paused_upon_creation,
        params={{name: dict(dag.params.get_param(name).schema, description=dag.params.get_param(name).description)
                for name in dag.params}},
        defaults=dag.params.dump(),
        waits_for=[asset.name for asset in getattr(dag.timetable.asset_condition, "objects", ())],
        tells={{t.task_id: [asset.name for asset in t.outlets] for t in dag.tasks if t.outlets}},
        tasks={{t.task_id: dict(pool=t.pool, queue=t.queue, retries=t.retries, after=sorted(t.upstream_task_ids))
               for t in dag.tasks}},
    ) for dag in bag.dags.values()
}}, default=str))
"""


@pytest.fixture(scope="session")
def dags(dag_runner: DagRunner) -> dict[str, Any]:
    code = _DUMP.format(folder=str(PROJECT / "dags"))
    done = subprocess.run(
        [sys.executable, "-c", code], env=dag_runner.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_dag_says_who_and_what_and_tells_people_when_it_fails(dags: dict[str, Any]) -> None:
    scheduled = {"nightly_scoring", "reviewed_labels", "weekly_retrain"}
    assert set(dags) == scheduled | {"braintumor_review", "rescore_history", "roll_back"}
    for dag in dags.values():
        assert dag["owner"] == "braintumor" and "braintumor" in dag["tags"] and len(dag["doc"]) > 200
        assert dag["on_failure"] == "failed"


def test_they_run_on_their_schedules_one_at_a_time_and_never_for_times_that_passed(dags: dict[str, Any]) -> None:
    crons = {name: dag["cron"] for name, dag in dags.items()}
    by_hand = {"braintumor_review": None, "rescore_history": None, "roll_back": None}
    scheduled = {"nightly_scoring": "0 1 * * *", "reviewed_labels": "30 5 * * *", "weekly_retrain": "0 3 * * 0"}
    assert crons == scheduled | by_hand
    for dag in dags.values():
        assert (dag["catchup"], dag["max_active_runs"], dag["start"]) == (False, 1, "None")
    assert {dags[name]["is_paused"] for name in by_hand} == {False}, (
        "nothing is held back, and they are asked for in a hurry"
    )


def test_a_retrain_also_runs_when_enough_labels_are_new(dags: dict[str, Any]) -> None:
    assert {name: dag["waits_for"] for name, dag in dags.items() if dag["waits_for"]} == {
        "weekly_retrain": ["braintumor/reviewed-labels"]
    }
    assert {name: dag["tells"] for name, dag in dags.items() if dag["tells"]} == {
        "nightly_scoring": {"reconcile": ["braintumor/predictions"]},
        "reviewed_labels": {"request_retrain": ["braintumor/reviewed-labels"]},
        "roll_back": {"change_champion": ["braintumor/champion"]},
        "weekly_retrain": {"promote": ["braintumor/champion"]},
    }


def test_a_retrain_has_a_deadline_of_a_day_that_needs_no_triggerer(dags: dict[str, Any]) -> None:
    kwargs = {"hours": 24.0, "policy": "ask"}
    assert dags["weekly_retrain"]["deadlines"] == [
        ["DagRunQueuedAtDeadline", 24 * 3600, "SyncCallback", "notifications.late", kwargs]
    ]
    assert [name for name, dag in dags.items() if dag["deadlines"]] == ["weekly_retrain"]


def test_the_form_of_the_way_back_asks_for_a_reason_and_for_nothing_else(dags: dict[str, Any]) -> None:
    dag = dags["roll_back"]
    assert (dag["defaults"]["to"], dag["defaults"]["withdraw"]) == (None, False)
    assert dag["params"]["reason"]["type"] == "string" and dag["defaults"]["reason"] is None, "so it has to be given"
    assert dag["params"]["reason"]["minLength"] == 5
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    assert [param["section"] for param in dag["params"].values()] == ["Models", "Models", "On record"]


def test_training_waits_in_the_gpu_pool_and_scoring_in_its_own(dags: dict[str, Any]) -> None:
    train = dags["weekly_retrain"]["tasks"]["candidate.train"]
    assert (train["pool"], train["queue"]) == ("gpu", "gpu")
    assert dags["nightly_scoring"]["tasks"]["score"]["pool"] == "score"
    assert dags["rescore_history"]["tasks"]["score"]["pool"] == "score"
    assert dags["weekly_retrain"]["tasks"]["preview"]["pool"] == "score"


def test_the_retrain_form_offers_its_choices_in_sections(dags: dict[str, Any]) -> None:
    dag = dags["weekly_retrain"]
    assert {"vgg16", "resnet50"} <= set(dag["params"]["recipes"]["items"]["enum"])
    assert dag["params"]["policy"]["enum"] == ["ask", "auto", "never"]
    assert dag["defaults"]["policy"] == "ask" and dag["defaults"]["epochs"] is None
    scans = dag["params"]["preview_scans"]
    assert (dag["defaults"]["preview_scans"], scans["minimum"], scans["maximum"]) == (500, 0, 5000)
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    sections = [param["section"] for param in dag["params"].values()]
    by_hand = ["Overrides, for every recipe"] * 4
    assert sections == ["Training", "Training", *by_hand, "Promotion", "Promotion"]


def test_a_candidate_is_previewed_before_anybody_is_asked_and_the_answer_is_kept(dags: dict[str, Any]) -> None:
    after = {name: task["after"] for name, task in dags["weekly_retrain"]["tasks"].items()}
    assert after["preview"] == ["gate"] and "preview" in after["route"] and "route" in after["approve"]
    assert "approve" in after["record_approval"]


def test_the_rescore_form_asks_for_a_reason_and_means_the_champion_unless_told(
    dags: dict[str, Any],
) -> None:
    dag = dags["rescore_history"]
    assert all(param["title"] and param["description"] for param in dag["params"].values())
    sections = [param["section"] for param in dag["params"].values()]
    assert sections == ["Which scans"] * 4 + ["Model"] * 3 + ["Work"]
    reason = dag["params"]["reason"]
    assert (reason["type"], reason["minLength"], dag["defaults"]["reason"]) == ("string", 1, None)
    defaults = {name: value for name, value in dag["defaults"].items() if value is not None}
    assert defaults == {"approve": False, "chunk_size": 200}
    after = {name: task["after"] for name, task in dag["tasks"].items()}
    assert after["score"] == ["chunks", "open_rescore_run"]
    assert after["report"] == after["reconcile"] == ["open_rescore_run", "score"], (
        "both at the end, so either of them makes it red"
    )


def test_every_task_retries(dags: dict[str, Any]) -> None:
    retries = {name: task["retries"] for dag in dags.values() for name, task in dag["tasks"].items()}
    assert retries.pop("score") == 5, "so many find a scan that kills its workers"
    assert {count for name, count in retries.items() if name != "approve"} == {2}


def test_airflow_looks_for_dags_in_no_file_that_has_none() -> None:
    ignored = set((PROJECT / "dags" / ".airflowignore").read_text().split())
    defines = {path.name for path in (PROJECT / "dags").glob("*.py") if "@dag(" in path.read_text()}
    assert ignored == {path.name for path in (PROJECT / "dags").glob("*.py")} - defines
