"""Test notifications with Airflow. A real server receives the messages of its notifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.reports.paths import FLIP_PREVIEW, run_page
from braintumor.s3 import ObjectStore
from tests.airflow_process import PROJECT, AirflowProcess
from tests.dags import notification_functions as functions
from tests.dags.conftest import DagRunner
from tests.documents import blocks
from tests.models import add_model, champions, pass_gate, promote
from tests.sql import change, rows
from tests.webhook import WEBHOOK, Webhook, webhook


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


def environment(hook: Webhook, tmp_path: Path, text: str = WEBHOOK) -> dict[str, str]:
    """Return the environment with a file of notifiers."""
    file = tmp_path / "notifiers.toml"
    file.write_text(text)
    return {
        "AIRFLOW_CONN_WEBHOOK": hook.url,
        "AIRFLOW__API__BASE_URL": "https://airflow.example.org",
        "BRAINTUMOR_NOTIFIERS": str(file),
    }


def test_every_task_event_reaches_the_webhook(in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path) -> None:
    in_airflow.call(functions.send_each_event_of_a_task, **environment(hook, tmp_path))
    assert [message["event"] for message in hook.received] == [
        "refused", "promoted", "promoted", "rejected", "rejected", "rolled_back", "withdrawn", "failed"
    ]  # fmt: skip
    refused, by_policy, by_person, rejected, unanswered, back, withdrawn, failed = hook.received
    assert refused["text"].startswith("vgg16-7 was trained and is not promoted, because:\n- accuracy 0.81 is below 0.9")
    assert refused["link"] == "https://airflow.example.org/braintumor/reports/model/vgg16-7/report.html"
    assert refused["text"].endswith("https://airflow.example.org/dags/weekly_retrain/runs/manual__1")
    assert "the policy auto promoted it" in by_policy["text"] and "Dr Okafor promoted it" in by_person["text"]
    assert "Dr Okafor rejected vgg16-7" in rejected["text"] and "No decision was made in time" in unanswered["text"]
    assert "ann rolled back from {{ b }} to a" in back["text"], "a value is not rendered as a template"
    assert withdrawn["subject"] == "Withdrawn: {{ b }}" and "move up on the worklist" in withdrawn["text"]
    assert all(f"\nWhat to do: docs/runbook.md#{message['event']}\n" in message["text"] for message in hook.received)
    assert failed["run"] == "timed out" and "No task failed by itself" in failed["text"]
    assert not any("s3://" in str(message) for message in hook.received)


def test_unchanged_result_is_sent_only_after_a_failed_try(
    in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path
) -> None:
    in_airflow.call(functions.send_unchanged_results, **environment(hook, tmp_path))
    assert [message["event"] for message in hook.received] == ["promoted"]


def test_failing_notifier_stops_neither_others_nor_task(
    in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path
) -> None:
    broken = WEBHOOK.replace('"webhook"', '"{}"')
    missing = '[[notifier]]\nclass = "airflow.providers.nowhere.Notifier"\n'
    text = "\n".join([missing, *(broken.replace("{}", name) for name in ("unknown", "refuses", "hangs")), WEBHOOK])
    with webhook(status=500) as refuses, webhook(hangs_s=300) as hangs:
        given = environment(hook, tmp_path, text)
        given |= {"AIRFLOW_CONN_REFUSES": refuses.url, "AIRFLOW_CONN_HANGS": hangs.url}
        seconds, log = in_airflow.call_with_log(functions.seconds_to_send_refused, 6, **given)
        assert len(refuses.received) == len(hangs.received) == 1
    assert len(hook.of("refused")) == 1
    assert seconds < 60, "a hanging notifier does not delay the task"
    for number, why in (
        (1, "Notifier cannot be created: No module named 'airflow.providers.nowhere'"),
        (2, "AirflowNotFoundException"),
        (3, "500"),
        (4, "no response within 6 s"),
    ):
        (line,) = [line for line in log.splitlines() if f"notifier {number} " in line and "NOT sent" in line]
        assert why in line


def test_unset_variable_is_logged_and_sends_nothing(in_airflow: AirflowProcess) -> None:
    _, log = in_airflow.call_with_log(functions.send_refused)
    (line,) = [line for line in log.splitlines() if "no notification is sent" in line]
    assert "refused: no notification is sent, because BRAINTUMOR_NOTIFIERS is not set" in line


def test_notifier_receives_only_its_events(in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path) -> None:
    text = WEBHOOK.replace("[notifier.arguments]", 'events = ["late"]\n[notifier.arguments]', 1)
    _, log = in_airflow.call_with_log(functions.send_refused, **environment(hook, tmp_path, text))
    assert hook.received == [] and any("no notifier in" in line for line in log.splitlines())


_HTTP = '[[notifier]]\nclass = "airflow.providers.http.notifications.HttpNotifier"\n'
_WRONG = {
    "no TOML": ("[[notifier", "is not TOML"),
    "no notifier": ("", "missing key 'notifier'. Required: notifier. Received: nothing"),
    "unknown top key": ("[[notifiers]]\n", "unknown key 'notifiers'. Allowed: notifier"),
    "no table": ("notifier = 3\n", "notifier must be one or more tables [[notifier]]. Received: 3"),
    "unknown key": (_HTTP + "to = 'secret'\n", "notifier 1: unknown key 'to'. Allowed: class, events, arguments"),
    "no class": ("[[notifier]]\n", "notifier 1: missing key 'class'"),
    "class no text": ("[[notifier]]\nclass = 1\n", "class must be the dotted name of an Airflow notifier. Received: 1"),
    "class no path": ('[[notifier]]\nclass = "Http"\n', "Http cannot be created: Empty module name"),
    "unknown event": (_HTTP + 'events = ["late", "fire"]\n', "Received: ['late', 'fire']"),
    "no events": (_HTTP + "events = []\n", "events must be a list of some of: promoted, refused, waiting"),
    "arguments no table": (
        _HTTP + 'arguments = "x"\n',
        "arguments must be a table, [notifier.arguments]. The received value is not shown",
    ),
    "broken template": (
        _HTTP + '[notifier.arguments]\nendpoint = "{{ subject"\n',
        "HttpNotifier cannot be created: unexpected end of template",
    ),
    "unknown name": (
        _HTTP + '[notifier.arguments]\njson = { a = ["{{ ds }}"] }\n',
        "'ds' is undefined. Received arguments: json. Allowed in templates: event, subject",
    ),
    "unknown of dag_run": (_HTTP + '[notifier.arguments]\nendpoint = "{{ dag_run.conf }}"\n', "no attribute 'conf'"),
    "unknown argument": (_HTTP + "[notifier.arguments]\nurl = 1\n", "HttpNotifier cannot be created: "),
    "unknown class": (_HTTP.replace("HttpNotifier", "Missing"), "cannot be created: module"),
    "no notifier class": (
        '[[notifier]]\nclass = "airflow.providers.http.hooks.http.HttpHook"\n',
        "HttpHook is not a subclass of airflow.sdk.bases.notifier.BaseNotifier",
    ),
}


@pytest.fixture(scope="module")
def refusals(in_airflow: AirflowProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the error message for each invalid file."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, (text, _) in _WRONG.items():
        (folder / name).write_text(text)
    return in_airflow.call(functions.refusals, folder)


@pytest.mark.parametrize("name", _WRONG)
def test_invalid_file_is_refused_with_position_and_remedy(refusals: dict[str, str], name: str) -> None:
    message = refusals[name]
    assert _WRONG[name][1] in message and (f"/{name}" in message or "cannot be created" in message)
    assert any(remedy in message for remedy in ("Correct", "Remove the key", "Add it")), message
    assert "secret" not in message


def test_example_in_operator_docs_is_valid(in_airflow: AirflowProcess, tmp_path: Path) -> None:
    (example,) = blocks((PROJECT / "docs" / "operator.md").read_text(), "toml")
    (tmp_path / "example.toml").write_text(example)
    json, subject = in_airflow.call(functions.values_of_example, tmp_path / "example.toml")
    assert json["title"] == "a subject" and subject == "[brain-tumor models] a subject"


def test_ended_nightly_run_is_not_late(in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path) -> None:
    runs = [
        {"dag_id": "nightly_scoring", "dag_run_id": state, "state": state, "conf": None}
        for state in ("running", "success", "failed", "queued")
    ]
    given = {**environment(hook, tmp_path), "BRAINTUMOR_NIGHT_DEADLINE_HOURS": "6"}
    in_airflow.call(functions.send_late, runs, 6.0, **given)
    assert in_airflow.call(functions.night_deadline, **given) == (6, "notifications.late")
    assert [(message["event"], message["run"]) for message in hook.received] == [
        ("late", "running"),
        ("late", "queued"),
    ]


@pytest.mark.parametrize("hours", ["soon", "-1", "nan", "inf"])
def test_invalid_deadline_is_refused(in_airflow: AirflowProcess, hours: str) -> None:
    refusal = in_airflow.call(functions.retrain_deadline_refusal, BRAINTUMOR_RETRAIN_DEADLINE_HOURS=hours)
    assert "BRAINTUMOR_RETRAIN_DEADLINE_HOURS must be a number of hours, such as 24" in refusal
    assert f"Received: {hours!r}" in refusal


@pytest.mark.soak
def test_waiting_or_ended_retrain_is_not_late(
    in_airflow: AirflowProcess, hook: Webhook, tmp_path: Path, settings: Settings
) -> None:
    add_model(settings, "b")
    pass_gate(settings, "b", run_key="waits")
    pass_gate(settings, "b", run_key="previews")
    ObjectStore.connect(settings).write(run_page(settings, "waits", FLIP_PREVIEW), b"page")
    given = {**environment(hook, tmp_path), **settings.to_environment()}
    waits = callback_run("waits")
    asked = [waits, callback_run("previews"), callback_run("trains"), callback_run("trains", state="failed")]
    assert late(in_airflow, hook, asked, given) == ["previews", "trains"]
    without_approval = callback_run("waits", policy="auto")
    assert late(in_airflow, hook, [without_approval], given) == ["waits"]
    unreachable = {**given, "BRAINTUMOR_DATABASE_URL": "postgresql://unknown@127.0.0.1:1/none"}
    assert late(in_airflow, hook, [waits], unreachable) == ["waits"], "an unreadable state sends the notification"
    change(
        settings,
        """
        insert into approval_decision (gate_verdict_id, answered_at, answer, person)
        select gate_verdict_id, now(), 'approve', 'ann' from gate_verdict where run_key = 'waits'""",
    )
    assert late(in_airflow, hook, [waits], given) == ["waits"], "the run no longer waits for approval"


def callback_run(run_id: str, *, state: str = "running", **conf: str) -> dict[str, Any]:
    """Return a run in the format of a deadline's callback."""
    return {"dag_id": "weekly_retrain", "dag_run_id": run_id, "state": state, "conf": conf or None}


def late(in_airflow: AirflowProcess, hook: Webhook, asked: list[dict[str, Any]], given: dict[str, str]) -> list[str]:
    """Return the runs that a late notification is sent for."""
    hook.received.clear()
    in_airflow.call(functions.send_late, asked, 24.0, "ask", **given)
    return [message["run"] for message in hook.received]


@pytest.mark.soak
def test_rollback_dag_succeeds_although_a_notifier_fails(
    dag_runner: DagRunner, settings: Settings, hook: Webhook, tmp_path: Path
) -> None:
    add_model(settings, "b")
    promote(settings, "b")
    before = champions(settings)
    text = WEBHOOK.replace('"webhook"', '"unknown"') + WEBHOOK
    runner = DagRunner({**dag_runner.environment, **environment(hook, tmp_path, text)})
    assert runner.run("roll_back", settings, reason="calls tumors normal", withdraw=True) == "success"
    assert champions(settings) != before == ["b"]
    assert [message["event"] for message in hook.received] == ["rolled_back", "withdrawn"]
    assert "from b to" in hook.received[0]["text"] and "calls tumors" not in str(hook.received)
    acts = rows(settings, "select action, actor, reason from promotion_history order by acted_at desc limit 2")
    assert {act[0] for act in acts} == {"rollback", "withdraw"}
    assert {act[1:] for act in acts} == {("dag_test", "calls tumors normal")}
    ((again,),) = rows(settings, "select model_name from champion")
    assert runner.run("roll_back", settings, reason="the wrong name", to=again, withdraw=True) == "failed"
    assert champions(settings) == [again] and len(hook.received) == 2, "it was champion already: nothing was done"
