"""Send a notification for each event of the DAGs to the notifiers of ``notification_config``.

A message leaves the hospital's systems. So it contains no object key, no patient data, no text of an error and no
reason that a person has typed. It contains models, runs, tasks and the person who decided. It links to pages that
check permissions.

Notifications are sent at least once. A task sends one as its last step, after its commit. A cleared task that finds
nothing to do sends none. A retry always sends one, because the failed try can have changed something without sending.
So a crash can send it twice. If all tries fail, the run fails, and ``failed`` is sent. A request for approval is sent
each time that it is made. Airflow calls ``failed`` each time that a run fails, and ``late`` once per run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import quote

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback  # type: ignore[attr-defined]  # not in the stub
from airflow.sdk.bases.notifier import BaseNotifier

from braintumor.config.variables import NIGHT_DEADLINE_HOURS, RETRAIN_DEADLINE_HOURS, Variable
from braintumor.errors import ConfigurationError
from common import base_url, reports_url, settings_for
from notification_config import Event, Notification, Run, notify

if TYPE_CHECKING:
    from braintumor.promotion.approval import ApprovalDecision
    from braintumor.registry.promotions import Rollback

P = ParamSpec("P")
Context = Mapping[str, Any]

_log = logging.getLogger(__name__)
_S3_URI = re.compile(r"\bs3://\S+")
_ENDED = ("success", "failed")


def never_raises(send: Callable[P, None]) -> Callable[P, None]:
    """Return a function that calls ``send`` and logs its errors instead of raising them.

    This decorator is needed because the task's work is already committed. An error of a notification must not fail the
    task.
    """

    @wraps(send)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            send(*args, **kwargs)
        except Exception:
            _log.exception("%s: no notification is sent. The task continues.", send.__name__)

    return wrapper


@never_raises
def refused(context: Context, verdict: Mapping[str, Any]) -> None:
    """Notify that the gate refused a candidate, with the reasons. If the candidate passed, send nothing."""
    if verdict["is_passed"] or not _must_send(context, is_new=verdict["is_new"]):
        return
    name = verdict["model_name"]
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    _send(
        context,
        Event.REFUSED,
        f"The gate refused {name}",
        f"{name} was trained and is not promoted, because:\n{reasons}",
        link=_report(name),
    )


@never_raises
def promoted(context: Context, verdict: Mapping[str, Any], *, is_new: bool) -> None:
    """Notify that a candidate became the champion.

    ``is_new`` means that this try of the task changed the champion.
    """
    if not _must_send(context, is_new=is_new):
        return
    name, person = verdict["model_name"], _person(context)
    _send(
        context,
        Event.PROMOTED,
        f"{name} is the champion",
        f"The gate passed {name}, and {person or 'the policy auto'} promoted it. "
        "It scores scans from the next nightly run.",
        link=_report(name),
    )


@never_raises
def rejected(context: Context, verdict: Mapping[str, Any], decision: ApprovalDecision) -> None:
    """Notify that a person rejected a candidate, or that the time for approval is over.

    After an approval, this sends nothing.
    """
    if decision.answer != "reject" or not _must_send(context, is_new=decision.is_new):
        return
    name, person = verdict["model_name"], _person(context)
    cause = f"{person} rejected" if person else "No decision was made in time, which rejects"
    _send(context, Event.REJECTED, f"{name} was rejected", f"{cause} {name}. Nothing was promoted.", link=_report(name))


@never_raises
def rolled_back(context: Context, done: Rollback, *, with_withdrawal: bool) -> None:
    """Notify that an earlier champion is the champion again.

    ``with_withdrawal`` means that the replaced champion was withdrawn. Then a second notification says so.
    """
    if not _must_send(context, is_new=done.replaced is not None):
        return
    name, actor = done.champion.model_name, actor_of(context)
    before = done.replaced.model_name if done.replaced else "the previous champion (an earlier try of this run failed)"
    _send(
        context,
        Event.ROLLED_BACK,
        f"{name} is the champion again",
        f"{actor} rolled back from {before} to {name}, which scores scans from the next nightly run. "
        f"The reason is recorded: braintumor model show {name}",
        link=_report(name),
    )
    if with_withdrawal:
        _send(
            context,
            Event.WITHDRAWN,
            f"Withdrawn: {before}",
            f"{actor} withdrew {before}. Its current predictions have the review reason model_withdrawn and are back "
            "on the worklist. Reviewers must check them.",
        )


@never_raises
def failed(context: Context) -> None:
    """Notify that a run failed. Airflow calls this in the dag-processor."""
    run = _run(context)
    task = getattr(context.get("ti"), "task_id", None)
    _send(
        context,
        Event.FAILED,
        f"{run.dag_id} failed",
        f"The run failed. {f'The last failed task is {task}.' if task else 'No task failed by itself.'} "
        "See the log of that task for the cause.",
    )


@never_raises
def late(context: Context, hours: float, policy: str) -> None:
    """Notify that a retrain has neither ended nor requested approval before its deadline.

    Airflow also calls this after the deadline of a failed run, and of a run that waits for approval. Such a run is not
    late, because ``failed`` or ``waiting`` was sent. The library's records show whether a run waits for approval. If
    the records cannot be read, the notification is sent.

    Args:
        context: contains ``dag_run`` in the format of the REST API.
        hours: the deadline in hours after the run was queued.
        policy: the default promotion policy.
    """
    run, dag_run = _run(context), context["dag_run"]
    needs_approval = (dag_run.get("conf") or {}).get("policy", policy) == "ask"
    if dag_run["state"] in _ENDED or (needs_approval and _awaits_approval(run.run_id)):
        _log.info("The run %s is %s or waits for approval, so it is not late", run.run_id, dag_run["state"])
        return
    _send(
        context,
        Event.LATE,
        "The retrain is late",
        f"It was queued {hours:g} hours ago, and has neither ended nor requested approval. It continues, and nothing "
        "was stopped. Check which task is running, and whether the pool gpu is full.",
    )


@never_raises
def nightly_run_late(context: Context, hours: float) -> None:
    """Notify that a nightly run has not ended before its deadline, ``hours`` after it was queued.

    Airflow also calls this for a failed run, for which nothing is sent.
    """
    run, state = _run(context), context["dag_run"]["state"]
    if state in _ENDED:
        _log.info("The run %s is %s, so it is not late", run.run_id, state)
        return
    _send(
        context,
        Event.LATE,
        "The nightly run is late",
        f"It was queued {hours:g} hours ago, and has not ended. It continues, nothing was stopped, and committed "
        "predictions are kept. Check which chunk is running, and whether the pool score is full.",
    )


class ApprovalRequested(BaseNotifier):
    """Notify that a candidate waits for approval. The approval task calls this notifier."""

    def notify(self, context: Context) -> None:  # noqa: D102
        _waiting(context)


@never_raises
def _waiting(context: Context) -> None:
    name = context["ti"].xcom_pull(task_ids="gate")["model_name"]
    page = context["task"].generate_link_to_ui(task_instance=context["ti"]) if base_url() else ""
    days = context["task"].response_timeout / timedelta(days=1)
    _send(
        context,
        Event.WAITING,
        f"May {name} be promoted?",
        f"The gate passed {name}. The page of the request shows its report and its flip preview. No decision within "
        f"{days:g} days rejects it. Report: {_report(name) or 'in Airflow, under Browse'}",
        link=page,
    )


def retrain_deadline(*, policy: str) -> DeadlineAlert | None:
    """Return the deadline of a retrain, or ``None`` if the variable is 0.

    The deadline is ``BRAINTUMOR_RETRAIN_DEADLINE_HOURS`` after the run is queued.

    Args:
        policy: the default promotion policy.

    Raises:
        ConfigurationError: the variable is not a number, or is below 0.
    """
    return _deadline(RETRAIN_DEADLINE_HOURS, late, policy=policy)


def nightly_run_deadline() -> DeadlineAlert | None:
    """Return the deadline of a nightly run, or ``None`` if the variable is 0.

    The deadline is ``BRAINTUMOR_NIGHT_DEADLINE_HOURS`` after the run is queued.

    Raises:
        ConfigurationError: the variable is not a number, or is below 0.
    """
    return _deadline(NIGHT_DEADLINE_HOURS, nightly_run_late)


def _deadline(variable: Variable, callback: Callable[..., None], **arguments: str) -> DeadlineAlert | None:
    """Return a deadline with the hours of a variable, or ``None`` for 0 hours.

    The callback runs on a worker, because that needs no triggerer. The callback receives ``hours`` and ``arguments``.
    ``airflow dags test`` of Airflow 3.3.2 needs 0 hours, because it fails after a successful run with a deadline.
    """
    given = variable.text()
    try:
        hours = float(given)
        interval = timedelta(hours=hours)
    except (ValueError, OverflowError):
        hours, interval = -1.0, timedelta(hours=-1)
    if interval < timedelta(0):
        raise ConfigurationError(
            f"{variable.name} must be a number of hours, such as 24 or 0.5, or 0 for no deadline. "
            f"Received: {given!r}. Correct it, or unset it for {variable.default}."
        )
    if not interval:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=SyncCallback(callback, kwargs={"hours": hours, **arguments}),
    )


def actor_of(context: Context) -> str:
    """Return the user who triggered the run, or "Airflow" if the user is unknown."""
    return _run(context).triggering_user_name or "Airflow"


def _must_send(context: Context, *, is_new: bool) -> bool:
    """Check that this try changed something, or that an earlier try failed and can have changed something.

    ``is_new`` means that this try changed something.
    """
    first_try: int = (
        context["ti"].max_tries - context["task"].retries + 1
    )  # clearing a task starts a new series of tries
    return is_new or context["ti"].try_number > first_try


def _send(context: Context, event: Event, subject: str, message: str, *, link: str = "") -> None:
    run = _run(context)
    page = _run_page(run)
    details = [f"What to do: {event.section}", f"Run: {run.run_id} of {run.dag_id}"]
    lines = [message, *details, *([link] if link else []), *([page] if page else [])]
    notification = Notification(
        event=event,
        subject=_without_uris(" ".join(subject.split())),
        message=_without_uris("\n".join(lines)),
        link=link or page,
        dag_run=run,
    )
    notify(notification, context)


def _without_uris(text: str) -> str:
    return _S3_URI.sub("(a URI in S3)", text)


def _person(context: Context) -> str | None:
    """Return the person who decided on the approval, or ``None`` if there is no decision."""
    from braintumor.promotion.approval import person_of

    return person_of(context["ti"].xcom_pull(task_ids="approve") or {})


def _awaits_approval(run_id: str) -> bool:
    from braintumor.promotion.approval import awaits_decision

    try:
        return awaits_decision(settings_for("trainer"), run_id)
    except Exception:
        _log.exception("The approval state of the run %s cannot be read", run_id)
        return False


def _run(context: Context) -> Run:
    """Return the run of a context.

    In a task, ``dag_run`` of the context is an object. In a deadline's callback, it is a mapping. The context of a run
    that timed out has no ``dag_run``.
    """
    dag_run = context.get("dag_run")
    if isinstance(dag_run, Mapping):
        values = {**dag_run, "run_id": dag_run["dag_run_id"]}
    elif dag_run is not None:
        values = {name: getattr(dag_run, name, None) for name in Run.__annotations__}
    else:
        values = {"dag_id": context["dag"].dag_id, "run_id": context["run_id"]}
    return Run(**{name: str(values.get(name) or "") for name in Run.__annotations__})


def _run_page(run: Run) -> str:
    base = base_url()
    return f"{base}/dags/{run.dag_id}/runs/{quote(run.run_id, safe='')}" if base else ""


def _report(name: str) -> str:
    """Return the URL of a model's report, or an empty string if Airflow's URL is not configured."""
    return f"{reports_url()}/model/{quote(name, safe='')}/report.html" if base_url() else ""
