"""What people are told: the events of the DAGs in plain words, for those whom ``notifiers`` names.

No message carries an object key, anything of a patient, the text of an error, or what a person typed as a reason: it
leaves the hospital's own systems. It names models, runs, tasks and who decided, and links to where the rest is shown to
those who may see it.

Told once, but never too seldom. A task tells when its work has been committed, and last. It tells of what it changed
itself; cleared after it succeeded, it finds everything as it was and tells nobody. A try that Airflow makes after one
that broke off always tells, because the broken one may have changed things and told nobody: so after a crash people can
be told twice. If every try breaks off, the run ends red, and ``failed`` is told. The question for approval is told as
often as it is asked. Airflow calls ``failed`` each time that a run turns red, and ``late`` once for a run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import quote

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback
from airflow.sdk.bases.notifier import BaseNotifier

from braintumor.config.variables import NIGHT_DEADLINE_HOURS, RETRAIN_DEADLINE_HOURS, Variable
from braintumor.errors import ConfigurationError
from common import base_url, reports_url, settings
from notification_config import Event, Notification, Run, notify

if TYPE_CHECKING:
    from braintumor.promotion.approval import ApprovalDecision
    from braintumor.registry.promotions import Rollback

P = ParamSpec("P")
Context = Mapping[str, Any]

_log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"\bs3://\S+")
_ENDED = ("success", "failed")


def harmless(announce: Callable[P, None]) -> Callable[P, None]:
    """Whatever keeps people from being told is said in the log and ends nothing: the work itself is done."""

    @wraps(announce)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            announce(*args, **kwargs)
        except Exception:
            _log.exception("%s: nobody is told. The task goes on.", announce.__name__)

    return guarded


@harmless
def refused(context: Context, verdict: Mapping[str, Any]) -> None:
    """The gate refused a run's candidate, with its reasons; nothing where it passed it."""
    if verdict["is_passed"] or not _is_news(context, is_new=verdict["is_new"]):
        return
    name = verdict["model_name"]
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    _tell(
        context,
        Event.REFUSED,
        f"The gate refused {name}",
        f"{name} was trained and is not promoted, because:\n{reasons}",
        link=_report(name),
    )


@harmless
def promoted(context: Context, verdict: Mapping[str, Any], *, is_new: bool) -> None:
    """A candidate became the champion."""
    if not _is_news(context, is_new=is_new):
        return
    name, person = verdict["model_name"], _person(context)
    _tell(
        context,
        Event.PROMOTED,
        f"{name} is the champion",
        f"The gate passed {name}, and {person or 'the policy auto'} promoted it. It answers from the next night on.",
        link=_report(name),
    )


@harmless
def rejected(context: Context, verdict: Mapping[str, Any], answer: ApprovalDecision) -> None:
    """A person, or nobody in time, said no; nothing where somebody approved."""
    if answer.answer != "reject" or not _is_news(context, is_new=answer.is_new):
        return
    name, person = verdict["model_name"], _person(context)
    who = f"{person} rejected" if person else "Nobody answered in time, which rejects"
    _tell(context, Event.REJECTED, f"{name} was rejected", f"{who} {name}. Nothing was promoted.", link=_report(name))


@harmless
def rolled_back(context: Context, done: Rollback, *, with_withdrawal: bool) -> None:
    """An earlier champion is the champion again, and whether today's was withdrawn."""
    if not _is_news(context, is_new=done.replaced is not None):
        return
    name, actor = done.champion.model_name, actor_of(context)
    before = done.replaced.model_name if done.replaced else "the one before it (an earlier try of this run broke off)"
    _tell(
        context,
        Event.ROLLED_BACK,
        f"{name} is the champion again",
        f"{actor} rolled back from {before} to {name}, which answers from the next night on. The reason is on record: "
        f"braintumor model show {name}",
        link=_report(name),
    )
    if with_withdrawal:
        _tell(
            context,
            Event.WITHDRAWN,
            f"Withdrawn: {before}",
            f"{actor} withdrew {before}. Its standing answers have the review reason model_withdrawn and are back on "
            "the worklist: people must look at them.",
        )


@harmless
def failed(context: Context) -> None:
    """A run ended red: Airflow calls this, in the dag-processor."""
    run = _run(context)
    task = getattr(context.get("ti"), "task_id", None)
    _tell(
        context,
        Event.FAILED,
        f"{run.dag_id} failed",
        f"The run ended red. {f'The last task that failed is {task}.' if task else 'No task of it failed by itself.'} "
        "The log of that task says why.",
    )


@harmless
def late(context: Context, hours: float, policy: str) -> None:
    """A retrain has come neither to its end nor to its question for a person by its deadline.

    Airflow calls this once the time has passed, also for a run that failed before and of one that waits for a person:
    the first was told as ``failed``, the second as ``waiting``, and neither is late. Whether anybody is waited for is
    read from the library's own records; where they cannot be read, people are told.

    Args:
        context: ``dag_run``, as the REST API shows it.
        hours: the deadline.
        policy: the promotion policy of a run that names none.
    """
    run, dag_run = _run(context), context["dag_run"]
    is_asking = (dag_run.get("conf") or {}).get("policy", policy) == "ask"
    if dag_run["state"] in _ENDED or (is_asking and _awaits_answer(run.run_id)):
        _log.info("The run %s is %s, or waits for a person: not late", run.run_id, dag_run["state"])
        return
    _tell(
        context,
        Event.LATE,
        "The retrain is late",
        f"It was queued {hours:g} hours ago, and has come neither to its end nor to a question for approval. It goes "
        "on: nothing was stopped. Look at which task is at work, and whether the pool gpu is full.",
    )


@harmless
def night_late(context: Context, hours: float) -> None:
    """A night has not ended by its deadline; called as ``late`` is, also for one that failed and was told as such."""
    run, state = _run(context), context["dag_run"]["state"]
    if state in _ENDED:
        _log.info("The night %s is %s: not late", run.run_id, state)
        return
    _tell(
        context,
        Event.LATE,
        "The night is late",
        f"It was queued {hours:g} hours ago, and has not ended. It goes on: nothing was stopped, and what it has "
        "settled is there. Look at which chunk is at work, and whether the pool score is full.",
    )


class Waiting(BaseNotifier):
    """Tells that a person is asked; for the approval's ``notifiers``."""

    def notify(self, context: Context) -> None:  # noqa: D102
        _waiting(context)


@harmless
def _waiting(context: Context) -> None:
    name = context["ti"].xcom_pull(task_ids="gate")["model_name"]
    page = context["task"].generate_link_to_ui(task_instance=context["ti"]) if base_url() else ""
    days = context["task"].response_timeout / timedelta(days=1)
    _tell(
        context,
        Event.WAITING,
        f"May {name} be promoted?",
        f"The gate passed {name}. Its report and its flip preview are on the page of the question. No answer within "
        f"{days:g} days rejects it. Report: {_report(name) or 'in Airflow, under Browse'}",
        link=page,
    )


def retrain_deadline(*, policy: str) -> DeadlineAlert | None:
    """People are told when a retrain takes longer than ``BRAINTUMOR_RETRAIN_DEADLINE_HOURS`` from its queueing.

    Args:
        policy: the promotion policy of a run that names none.

    Raises:
        ConfigurationError: the variable is no number, or below 0.
    """
    return _deadline(RETRAIN_DEADLINE_HOURS, late, policy=policy)


def night_deadline() -> DeadlineAlert | None:
    """People are told when a night takes longer than ``BRAINTUMOR_NIGHT_DEADLINE_HOURS`` from its queueing.

    Raises:
        ConfigurationError: the variable is no number, or below 0.
    """
    return _deadline(NIGHT_DEADLINE_HOURS, night_late)


def _deadline(variable: Variable, callback: Callable[..., None], **arguments: str) -> DeadlineAlert | None:
    """The callback runs where tasks do, so that no triggerer is needed; it is given the hours too.

    0 hours are no deadline: ``airflow dags test``, as of Airflow 3.3.2, ends in an error of its own after a run that
    has one has succeeded.
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
    """Who triggered the run, as far as Airflow tells."""
    return _run(context).triggering_user_name or "Airflow"


def _is_news(context: Context, *, is_new: bool) -> bool:
    """Whether to tell: the task changed something, or an earlier try that broke off may have."""
    first_try: int = context["ti"].max_tries - context["task"].retries + 1  # clearing begins a new row of tries
    return is_new or context["ti"].try_number > first_try


def _tell(context: Context, event: Event, subject: str, message: str, *, link: str = "") -> None:
    run = _run(context)
    page = _run_page(run)
    about = [f"What to do: {event.section}", f"Run: {run.run_id} of {run.dag_id}"]
    lines = [message, *about, *([link] if link else []), *([page] if page else [])]
    news = Notification(
        event=event,
        subject=_without_addresses(" ".join(subject.split())),
        message=_without_addresses("\n".join(lines)),
        link=link or page,
        dag_run=run,
    )
    notify(news, context)


def _without_addresses(text: str) -> str:
    return _ADDRESS.sub("(an address in S3)", text)


def _person(context: Context) -> str | None:
    """Who answered the run's question; ``None`` where nobody was asked, or nobody answered."""
    from braintumor.promotion.approval import person_of

    return person_of(context["ti"].xcom_pull(task_ids="approve") or {})


def _awaits_answer(run_id: str) -> bool:
    from braintumor.promotion.approval import awaits_decision

    try:
        return awaits_decision(settings("trainer"), run_id)
    except Exception:
        _log.exception("Whether the run %s waits for a person cannot be read", run_id)
        return False


def _run(context: Context) -> Run:
    """The run of a context: an object in a task, a mapping in a deadline's callback, missing where a run timed out."""
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
    """A model's report in the plugin, where this machine knows Airflow's address."""
    return f"{reports_url()}/model/{quote(name, safe='')}/report.html" if base_url() else ""
