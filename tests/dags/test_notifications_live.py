"""Under Airflow's own scheduler, dag-processor and executor: what happens reaches a webhook, a missed deadline too."""

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
from tests.approval import answer, question
from tests.dags.conftest import LENIENT_RULES
from tests.live import PATIENCE_S, library, live_stack
from tests.sql import rows
from tests.webhook import Webhook, webhook

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * PATIENCE_S)]

_NOTIFIERS = """
[[notifier]]
class = "airflow.providers.http.notifications.HttpNotifier"
[notifier.arguments]
http_conn_id = "nobody_is_there"

[[notifier]]
class = "airflow.providers.http.notifications.HttpNotifier"
[notifier.arguments]
http_conn_id = "webhook"
[notifier.arguments.json]
event = "{{ event }}"
subject = "{{ subject }}"
text = "{{ message }}"
link = "{{ link }}"
run = "{{ dag_run.run_id }}"
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


@pytest.fixture(scope="module")
def told(
    receiver: Webhook,
    seeded: Settings,
    tiny_model_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    phantoms: Path,
) -> Iterator[Stack]:
    """A whole stack whose notifiers are one that fails and one that posts, and whose deadline is 3.6 seconds."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "gate.toml").write_text(LENIENT_RULES)
    (folder / "notifiers.toml").write_text(_NOTIFIERS)
    extra = {
        "AIRFLOW_CONN_WEBHOOK": receiver.url,
        "BRAINTUMOR_GATE_RULES": str(folder / "gate.toml"),
        "BRAINTUMOR_NOTIFIERS": str(folder / "notifiers.toml"),
        "BRAINTUMOR_RECIPES": "resnet50_small",
        "BRAINTUMOR_RETRAIN_DEADLINE_HOURS": "0.001",
    }
    with live_stack(seeded, tiny_model_folder, extra, labeled=phantoms) as stack:
        yield stack


def test_live_retrain_approvals_and_rollback_are_notified(told: Stack, receiver: Webhook) -> None:
    client, settings = told.client(), library(told)
    before = model_versions.champion(database.connect(settings)).model_name
    run_id = client.trigger("weekly_retrain", {"policy": "ask", "epochs": 1})
    late = receiver.wait_for("late")
    assert late["run"] == run_id and "queued 0.001 hours ago" in late["text"]

    question(client, run_id)
    waiting = receiver.wait_for("waiting")
    assert "required_actions" in waiting["link"] and waiting["subject"].startswith("May ")
    answer(client, run_id, "Reject")
    assert client.wait("weekly_retrain", run_id, timeout_s=PATIENCE_S) == "success"
    assert model_versions.champion(database.connect(settings)).model_name == before
    rejected = receiver.wait_for("rejected", timeout_s=5)
    assert "admin rejected" in rejected["text"]

    _clear(client, "weekly_retrain", run_id, "approve")
    receiver.wait_for("waiting", count=2)
    question(client, run_id)
    answer(client, run_id, "Approve")
    assert client.wait("weekly_retrain", run_id, timeout_s=PATIENCE_S) == "success"
    promoted = receiver.wait_for("promoted", timeout_s=5)
    ((champion,),) = rows(settings, "select model_name from champion")
    answers = rows(settings, "select answer, person from approval_decision order by answered_at")
    assert answers == [("reject", "admin"), ("approve", "admin")]
    assert promoted["subject"] == f"{champion} is the champion" and "admin promoted it" in promoted["text"]
    assert promoted["link"] == f"{told.airflow.url}/braintumor/reports/model/{champion}/report.html"

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

    events = [news["event"] for news in receiver.received]
    expected = ["late", "waiting", "rejected", "waiting", "promoted", "rolled_back", "withdrawn"]
    assert events == expected, "and the cleared task told nobody again"
    assert not any("s3://" in str(news) or "calls tumors" in str(news) for news in receiver.received)


def test_failed_run_is_notified(told: Stack, receiver: Webhook) -> None:
    client = told.client()
    with pytest.raises(AirflowAnswerError, match="reason"):
        client.trigger("roll_back", {})
    run_id = client.trigger("roll_back", {"reason": "there is none before", "to": "nobody"})
    assert client.wait("roll_back", run_id, timeout_s=PATIENCE_S) == "failed"
    news = receiver.wait_for("failed", timeout_s=60)
    assert (news["run"], news["subject"]) == (run_id, "roll_back failed")
    run_id = client.trigger("nightly_scoring", {"scans_uri": "s3://no-such-bucket/scans/"})
    assert client.wait("nightly_scoring", run_id, timeout_s=PATIENCE_S) == "failed"
    news = receiver.wait_for("failed", count=2, timeout_s=60)
    assert (news["run"], news["subject"]) == (run_id, "nightly_scoring failed")
    assert "The last failed task is reconcile" in news["text"] and "s3://" not in str(news)


def _clear(client: AirflowClient, dag_id: str, run_id: str, task_id: str) -> None:
    clearing = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True}
    client.request("POST", f"/dags/{dag_id}/clearTaskInstances", json={**clearing, "only_failed": False})
