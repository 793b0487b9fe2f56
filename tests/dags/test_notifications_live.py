"""Test that events and a missed deadline reach a webhook under Airflow's scheduler, dag-processor and executor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.registry import model_versions
from devstack.airflowapi import AirflowClient
from devstack.errors import AirflowAnswerError
from devstack.stack import Stack
from tests.approval import approval_request, decide
from tests.evaluation.judging import LENIENT
from tests.live_stack import PATIENCE_S, library, live_stack
from tests.sql import rows
from tests.webhook import WEBHOOK, Webhook, webhook

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * PATIENCE_S)]

_MISSING = """
[[notifier]]
class = "airflow.providers.http.notifications.HttpNotifier"
[notifier.arguments]
http_conn_id = "missing"
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


@pytest.fixture(scope="module")
def notified(
    *,
    receiver: Webhook,
    seeded: Settings,
    tiny_model_folder: Path,
    airflow_dump: Path,
    tmp_path_factory: pytest.TempPathFactory,
    phantoms: Path,
) -> Iterator[Stack]:
    """Start a stack with a failing notifier, a webhook notifier, and a deadline of 3.6 seconds."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "gate.toml").write_text(LENIENT)
    (folder / "notifiers.toml").write_text(_MISSING + WEBHOOK)
    extra = {
        "AIRFLOW_CONN_WEBHOOK": receiver.url,
        "BRAINTUMOR_GATE_RULES": str(folder / "gate.toml"),
        "BRAINTUMOR_NOTIFIERS": str(folder / "notifiers.toml"),
        "BRAINTUMOR_RECIPES": "resnet50_small",
        "BRAINTUMOR_RETRAIN_DEADLINE_HOURS": "0.001",
    }
    with live_stack(seeded, tiny_model_folder, airflow_dump, extra, labeled=phantoms) as stack:
        yield stack


def test_live_retrain_approvals_and_rollback_are_notified(notified: Stack, receiver: Webhook) -> None:
    client, settings = notified.client(), library(notified)
    before = model_versions.champion(database.connect(settings)).model_name
    run_id = client.trigger("weekly_retrain", {"policy": "ask", "epochs": 1})
    late = receiver.wait_for("late")
    assert late["run"] == run_id and "queued 0.001 hours ago" in late["text"]

    approval_request(client, run_id)
    waiting = receiver.wait_for("waiting")
    assert "required_actions" in waiting["link"] and waiting["subject"].startswith("May ")
    decide(client, run_id, "Reject")
    assert client.wait("weekly_retrain", run_id, timeout_s=PATIENCE_S) == "success"
    assert model_versions.champion(database.connect(settings)).model_name == before
    rejected = receiver.wait_for("rejected", timeout_s=5)
    assert "admin rejected" in rejected["text"]

    _clear(client, "weekly_retrain", run_id, "approve")
    receiver.wait_for("waiting", count=2)
    approval_request(client, run_id)
    decide(client, run_id, "Approve")
    assert client.wait("weekly_retrain", run_id, timeout_s=PATIENCE_S) == "success"
    promoted = receiver.wait_for("promoted", timeout_s=5)
    ((champion,),) = rows(settings, "select model_name from champion")
    answers = rows(settings, "select answer, person from approval_decision order by answered_at")
    assert answers == [("reject", "admin"), ("approve", "admin")]
    assert promoted["subject"] == f"{champion} is the champion" and "admin promoted it" in promoted["text"]
    assert promoted["link"] == f"{notified.airflow.url}/braintumor/reports/model/{champion}/report.html"

    back = client.trigger("roll_back", {"reason": "calls tumors normal", "withdraw": True})
    assert client.wait("roll_back", back, timeout_s=PATIENCE_S) == "success", client.failure_logs("roll_back", back)
    assert receiver.wait_for("rolled_back", timeout_s=5)["subject"] == f"{before} is the champion again"
    assert receiver.wait_for("withdrawn", timeout_s=5)["subject"] == f"Withdrawn: {champion}"
    acts = rows(settings, "select action, model_name, actor, reason from promotion_history where actor <> 'tests'")
    assert acts[-2:] == [
        ("rollback", before, "admin", "calls tumors normal"),
        ("withdraw", champion, "admin", "calls tumors normal"),
    ]
    _clear(client, "roll_back", back, "change_champion")
    assert client.wait("roll_back", back, timeout_s=PATIENCE_S) == "success"

    events = [message["event"] for message in receiver.received]
    expected = ["late", "waiting", "rejected", "waiting", "promoted", "rolled_back", "withdrawn"]
    assert events == expected, "the cleared task sends no notification"
    assert not any("s3://" in str(message) or "calls tumors" in str(message) for message in receiver.received)


def test_failed_run_is_notified(notified: Stack, receiver: Webhook) -> None:
    client = notified.client()
    with pytest.raises(AirflowAnswerError, match="reason"):
        client.trigger("roll_back", {})
    run_id = client.trigger("roll_back", {"reason": "no earlier champion", "to": "missing"})
    assert client.wait("roll_back", run_id, timeout_s=PATIENCE_S) == "failed"
    message = receiver.wait_for("failed", timeout_s=60)
    assert (message["run"], message["subject"]) == (run_id, "roll_back failed")
    run_id = client.trigger("nightly_scoring", {"scans_uri": "s3://no-such-bucket/scans/"})
    assert client.wait("nightly_scoring", run_id, timeout_s=PATIENCE_S) == "failed"
    message = receiver.wait_for("failed", count=2, timeout_s=60)
    assert (message["run"], message["subject"]) == (run_id, "nightly_scoring failed")
    assert "The last failed task is reconcile" in message["text"] and "s3://" not in str(message)


def _clear(client: AirflowClient, dag_id: str, run_id: str, task_id: str) -> None:
    clearing = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True}
    client.request("POST", f"/dags/{dag_id}/clearTaskInstances", json={**clearing, "only_failed": False})
