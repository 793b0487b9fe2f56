"""Send notifications, in a process that has imported Airflow."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from braintumor.config.variables import NIGHT_DEADLINE_HOURS, RETRAIN_DEADLINE_HOURS
from braintumor.errors import ConfigurationError

VERDICT = {
    "model_name": "vgg16-7",
    "is_passed": False,
    "is_new": True,
    "reasons": ["accuracy 0.81 is below 0.9", "s3://braintumor/models/x is missing"],
}


def context(*, try_number: int = 1, max_tries: int = 2, answered_by: str | None = None) -> dict[str, Any]:
    """Return the context of a task of a retrain, with the answer of a person to its approval."""
    approval = answered_by and {"responded_by_user": {"name": answered_by}}
    pulled = {"gate": VERDICT, "approve": approval}
    return {
        "ti": SimpleNamespace(try_number=try_number, max_tries=max_tries, xcom_pull=lambda task_ids: pulled[task_ids]),
        "task": SimpleNamespace(retries=2),
        "dag_run": SimpleNamespace(dag_id="weekly_retrain", run_id="manual__1", triggering_user_name="ann"),
    }


def send_each_event_of_a_task() -> None:
    import notifications
    from braintumor.promotion.approval import ApprovalDecision
    from braintumor.registry.promotions import Rollback

    notifications.refused(context(), VERDICT)
    notifications.promoted(context(), VERDICT, is_new=True)
    notifications.promoted(context(answered_by="Dr Okafor"), VERDICT, is_new=True)
    by_person = ApprovalDecision(answer="reject", person="Dr Okafor", is_new=True)
    notifications.rejected(context(answered_by="Dr Okafor"), VERDICT, by_person)
    notifications.rejected(context(), VERDICT, ApprovalDecision(answer="reject", person="no answer", is_new=True))
    champion: Any = SimpleNamespace(model_name="a")
    replaced: Any = SimpleNamespace(model_name="{{ b }}")
    notifications.rolled_back(context(), Rollback(champion=champion, replaced=replaced), with_withdrawal=True)
    timed_out = {"dag": SimpleNamespace(dag_id="nightly_scoring"), "run_id": "timed out", "reason": "timed_out"}
    notifications.failed(timed_out)


def send_unchanged_results() -> None:
    """Send results that an earlier try may have sent. Only the last one follows a failed try."""
    import notifications

    old = VERDICT | {"is_new": False}
    notifications.refused(context(try_number=1, max_tries=2), old)
    notifications.refused(context(try_number=2, max_tries=3), old)  # cleared, so this is a first try
    notifications.refused(context(), VERDICT | {"is_passed": True})
    notifications.promoted(context(try_number=2, max_tries=2), old, is_new=False)


def send_refused() -> None:
    import notifications

    notifications.refused(context(), VERDICT)


def seconds_to_send_refused(timeout_s: int) -> float:
    from airflow.providers.http.notifications import HttpNotifier  # noqa: F401  # imported before the timeout starts

    import notifications

    notifications.TIMEOUT_S = timeout_s
    began = time.monotonic()
    notifications.refused(context(), VERDICT)
    return time.monotonic() - began


def refusals(folder: Path) -> dict[str, str]:
    """Return the error message of each file of notifiers in a folder that is refused."""
    from notifications import SAMPLE, NotifierFile, create_notifier

    errors = {}
    for file in folder.iterdir():
        try:
            for entry in NotifierFile.load(file).notifier:
                create_notifier(entry, SAMPLE)
        except ConfigurationError as error:
            errors[file.name] = str(error)
    return errors


def values_of_example(file: Path) -> tuple[dict[str, Any], str]:
    """Return the JSON of the webhook and the subject of the mail, which are in a file with a third notifier."""
    from notifications import SAMPLE, NotifierFile, create_notifier

    webhook, mail, _slack = NotifierFile.load(file).notifier
    made: list[Any] = [create_notifier(entry, SAMPLE) for entry in (webhook, mail)]
    return made[0].json, made[1].subject


def send_late(dag_runs: list[dict[str, Any]], hours: float, policy: str = "") -> None:
    """Call the callback of a deadline for each run."""
    import notifications

    for dag_run in dag_runs:
        notifications.late(context={"dag_run": dag_run}, hours=hours, policy=policy)


def night_deadline() -> tuple[float, str]:
    """Return the hours and the callback of a night's deadline."""
    import notifications

    deadline = notifications.run_deadline(NIGHT_DEADLINE_HOURS)
    assert deadline
    return deadline.interval.total_seconds() / 3600, deadline.callback.path


def retrain_deadline_refusal() -> str:
    """Return the error message for a retrain's deadline, or an empty string."""
    import notifications

    try:
        notifications.run_deadline(RETRAIN_DEADLINE_HOURS, policy="ask")
    except ConfigurationError as error:
        return str(error)
    return ""
