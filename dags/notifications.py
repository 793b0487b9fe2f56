"""Notify people of events of the DAGs, with the Airflow notifiers of the TOML file in ``BRAINTUMOR_NOTIFIERS``.

An example of the file is in docs/operator.md. ``python dags/notifications.py FILE`` checks such a file and sends
nothing.

A message leaves the hospital's systems. So it contains no object key, no patient data, no text of an error and no
reason that a person has typed. It contains models, runs, tasks and the person who decided. Its links lead to pages that
check permissions.

Notifications are sent at least once. A task sends its notification as its last step, after its commit. A cleared
task that finds nothing to do sends no notification. A retry always sends one, because the failed try may have changed
something without a notification.
Airflow calls ``failed`` each time that a run fails, and ``late`` once per run.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import wraps
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, Self
from urllib.parse import quote

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback  # type: ignore[attr-defined]  # not in the stub
from airflow.sdk.bases.notifier import BaseNotifier
from pydantic import ConfigDict, Field

from braintumor.config.rule_files import Table, read_toml
from braintumor.config.variables import NOTIFIERS, Variable
from braintumor.errors import ConfigurationError
from common import base_url, reports_url, settings_for

if TYPE_CHECKING:
    from braintumor.promotion.approval import ApprovalDecision
    from braintumor.registry.promotions import Rollback

P = ParamSpec("P")
Context = Mapping[str, Any]

TIMEOUT_S = 20
"""Timeout for all notifiers together. Airflow ends a callback of the dag-processor, such as ``failed``, after 50 s."""
_log = logging.getLogger(__name__)
_S3_URI = re.compile(r"\bs3://\S+")
_RUN = ("dag_id", "run_id", "run_type", "triggering_user_name")
SAMPLE = {
    **{name: f"a {name}" for name in ("event", "subject", "message", "link")},
    "dag_run": {name: f"a {name}" for name in _RUN},
}
"""Sample values for the templates of notifiers. A check of the file renders the templates with these values."""


class Event(StrEnum):
    """Name the events that notifiers can receive. Each has a section of its name in docs/runbook.md."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    WAITING = "waiting"
    REJECTED = "rejected"
    LATE = "late"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    WITHDRAWN = "withdrawn"


class NotifierEntry(Table):
    """Hold one ``[[notifier]]`` table of the file. Messages show no values of unknown keys, which can be secrets."""

    model_config = ConfigDict(hide_input_in_errors=True)

    class_path: str = Field(alias="class", description="the dotted name of an Airflow notifier")
    events: list[Annotated[Event, Field(strict=False)]] = Field(
        default=list(Event), min_length=1, description=f"a list of some of: {', '.join(Event)}"
    )
    arguments: dict[str, Any] = Field(default={}, repr=False, description="a table, [notifier.arguments]")


class NotifierFile(Table):
    """Hold the content of the file in ``BRAINTUMOR_NOTIFIERS``."""

    notifier: list[NotifierEntry] = Field(min_length=1, description="one or more tables [[notifier]]")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a file. Raises ``ConfigurationError`` if it cannot be read or has a wrong value."""
        remedy = f"Set {NOTIFIERS.name} to a TOML file that each machine of Airflow can read, or unset it."
        values = read_toml(path, what="The file of notifiers", remedy=remedy, error=ConfigurationError)
        return cls.checked(values, where=f"{path}: ", error=ConfigurationError)


def never_raises(send: Callable[P, None]) -> Callable[P, None]:
    """Return a function that calls ``send`` and logs its errors, because the task's work is already committed."""

    @wraps(send)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            send(*args, **kwargs)
        except Exception:
            _log.exception("%s: no notification is sent. The task continues.", send.__qualname__)

    return wrapper


@never_raises
def refused(context: Context, verdict: Mapping[str, Any]) -> None:
    """Notify that the gate refused a candidate, with the reasons. If the candidate passed, send nothing."""
    if verdict["is_passed"] or not _must_send(context, is_new=verdict["is_new"]):
        return
    name = verdict["model_name"]
    message = "\n".join([f"{name} was trained and is not promoted, because:", *(f"- {r}" for r in verdict["reasons"])])
    _send(context, Event.REFUSED, f"The gate refused {name}", message, link=_report(name))


@never_raises
def promoted(context: Context, verdict: Mapping[str, Any], *, is_new: bool) -> None:
    """Notify that a candidate became the champion. ``is_new`` means that this try changed the champion."""
    if not _must_send(context, is_new=is_new):
        return
    name, actor = verdict["model_name"], _person(context) or "the policy auto"
    message = f"The gate passed {name}, and {actor} promoted it. It scores scans from the next nightly run."
    _send(context, Event.PROMOTED, f"{name} is the champion", message, link=_report(name))


@never_raises
def rejected(context: Context, verdict: Mapping[str, Any], decision: ApprovalDecision) -> None:
    """Notify that a person rejected a candidate, or did not decide in time. After an approval, send nothing."""
    if decision.answer != "reject" or not _must_send(context, is_new=decision.is_new):
        return
    name, person = verdict["model_name"], _person(context)
    cause = f"{person} rejected" if person else "No decision was made in time, which rejects"
    _send(context, Event.REJECTED, f"{name} was rejected", f"{cause} {name}. Nothing was promoted.", link=_report(name))


@never_raises
def rolled_back(context: Context, done: Rollback, *, with_withdrawal: bool) -> None:
    """Notify that an earlier champion is the champion again, and whether the replaced champion was withdrawn."""
    if not _must_send(context, is_new=done.replaced is not None):
        return
    name, actor = done.champion.model_name, actor_of(context)
    before = done.replaced.model_name if done.replaced else "the previous champion (an earlier try of this run failed)"
    message = (
        f"{actor} rolled back from {before} to {name}, which scores scans from the next nightly run. "
        f"The reason is recorded: braintumor model show {name}"
    )
    _send(context, Event.ROLLED_BACK, f"{name} is the champion again", message, link=_report(name))
    if with_withdrawal:
        message = (
            f"{actor} withdrew {before}. Its current predictions have the review reason model_withdrawn. Those that "
            "reviewers have not settled move up on the worklist. Reviewers must check them."
        )
        _send(context, Event.WITHDRAWN, f"Withdrawn: {before}", message)


@never_raises
def failed(context: Context) -> None:
    """Notify that a run failed. Airflow calls this function in the dag-processor."""
    task = getattr(context.get("ti"), "task_id", None)
    cause = f"The last failed task is {task}." if task else "No task failed by itself."
    message = f"The run failed. {cause} See the log of that task for the cause."
    _send(context, Event.FAILED, f"{_run(context)['dag_id']} failed", message)


@never_raises
def late(context: Context, hours: float, policy: str = "") -> None:
    """Notify that a run has not ended before its deadline, ``hours`` after it was queued.

    Airflow also calls this function after the deadline of a failed run, or of a retrain that waits for approval. Then
    nothing is sent, because the event ``failed`` or ``waiting`` was sent before. If the approval's record cannot be
    read, the notification is sent. The context has ``dag_run`` in the format of the REST API. ``policy`` is the
    promotion policy of a run whose form does not set it.
    """
    run, dag_run = _run(context), context["dag_run"]
    needs_approval = (dag_run.get("conf") or {}).get("policy", policy) == "ask"
    if dag_run["state"] in ("success", "failed") or (needs_approval and _awaits_approval(run["run_id"])):
        _log.info("The run %s is %s or waits for approval, so it is not late", run["run_id"], dag_run["state"])
        return
    message = (
        f"It was queued {hours:g} hours ago, and has neither ended nor requested approval. It continues, nothing was "
        "stopped, and committed results are kept. Check which task is running, and whether its pool is full."
    )
    _send(context, Event.LATE, f"{run['dag_id']} is late", message)


class ApprovalRequested(BaseNotifier):
    """Notify that a candidate waits for approval. The approval task calls this notifier."""

    @never_raises
    def notify(self, context: Context) -> None:  # noqa: D102
        name = context["ti"].xcom_pull(task_ids="gate")["model_name"]
        page = context["task"].generate_link_to_ui(task_instance=context["ti"]) if base_url() else ""
        message = (
            f"The gate passed {name}. The page of the request shows its report and its flip preview. No decision "
            f"within {context['task'].response_timeout / timedelta(days=1):g} days rejects it. "
            f"Report: {_report(name) or 'in Airflow, under Browse'}"
        )
        _send(context, Event.WAITING, f"May {name} be promoted?", message, link=page)


def run_deadline(variable: Variable, **arguments: str) -> DeadlineAlert | None:
    """Return a deadline for the runs of a DAG, or ``None`` if ``variable`` has the value 0.

    The deadline is the given number of hours after a run was queued. Then Airflow calls ``late`` with ``arguments``, on
    a worker, because that needs no triggerer. ``airflow dags test`` of Airflow 3.3.2 needs the value 0, because it
    fails after a successful run with a deadline. Raises ``ConfigurationError`` if the value is not a number of hours.
    """
    given = variable.text()
    try:
        interval = timedelta(hours=float(given))
    except (ValueError, OverflowError):
        interval = timedelta(hours=-1)
    if interval < timedelta(0):
        raise ConfigurationError(
            f"{variable.name} must be a number of hours, such as 24 or 0.5, or 0 for no deadline. "
            f"Received: {given!r}. Correct it, or unset it for {variable.default}."
        )
    if not interval:
        return None
    callback = SyncCallback(late, kwargs={"hours": float(given), **arguments})
    return DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=interval, callback=callback)


def actor_of(context: Context) -> str:
    """Return the user who triggered the run, or "Airflow" if the user is unknown."""
    return _run(context)["triggering_user_name"] or "Airflow"


def _must_send(context: Context, *, is_new: bool) -> bool:
    """Return whether this try changed something, or an earlier try failed and may have changed something."""
    first_try: int = context["ti"].max_tries - context["task"].retries + 1  # clearing starts a new series of tries
    return is_new or context["ti"].try_number > first_try


def _send(context: Context, event: Event, subject: str, message: str, *, link: str = "") -> None:
    run, base = _run(context), base_url()
    page = f"{base}/dags/{run['dag_id']}/runs/{quote(run['run_id'], safe='')}" if base else ""
    details = [f"What to do: docs/runbook.md#{event}", f"Run: {run['run_id']} of {run['dag_id']}"]
    text = "\n".join([message, *details, *filter(None, (link, page))])
    notify(
        {
            "event": event,
            "subject": _S3_URI.sub("(a URI in S3)", " ".join(subject.split())),
            "message": _S3_URI.sub("(a URI in S3)", text),
            "link": link or page,
            "dag_run": run,
        },
        context,
    )


def notify(values: Any, context: Context) -> None:
    """Call the notifiers of an event in parallel. Errors are logged and never raised.

    The threads are daemons and have a common timeout, so a hanging server delays neither the task nor its exit.
    ``values`` has the values that the templates can use: event, subject, message, link and dag_run.
    """
    event, path = values["event"], NOTIFIERS.read()
    if not path:
        _log.info("%s: no notification is sent, because %s is not set", event, NOTIFIERS.name)
        return
    try:
        entries = enumerate(NotifierFile.load(Path(path)).notifier, start=1)
    except ConfigurationError as exc:
        _log.error("%s: no notification is sent. %s", event, exc)
        return
    problems: dict[str, str] = {}
    whole_context: Any = {**context, **values}

    def attempt(name: str, entry: NotifierEntry) -> None:
        try:
            create_notifier(entry, values).notify(whole_context)
            problems[name] = ""
        except Exception as exc:  # a notifier can raise any error
            problems[name] = f"{type(exc).__name__}: {exc}"

    calls = {f"notifier {number} ({entry.class_path})": entry for number, entry in entries if event in entry.events}
    threads = [Thread(target=attempt, args=call, daemon=True) for call in calls.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + TIMEOUT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name in calls:
        if problem := problems.get(name, f"no response within {TIMEOUT_S} s"):
            _log.error("%s: NOT sent by %s of %s. %s. The task continues.", event, name, path, problem)
        else:
            _log.info("%s: sent by %s", event, name)
    if not calls:
        _log.info("%s: no notification is sent, because no notifier in %s has this event", event, path)


def create_notifier(entry: NotifierEntry, values: Any) -> BaseNotifier:
    """Return a new notifier with its template fields rendered from ``values``, or raise ``ConfigurationError``.

    Do not call the notifier as a function. Such a call would render the templates again. Then fields of the
    notifier, such as an e-mail's ``subject``, would hide ``values``.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    try:
        notifier = _notifier_class(entry.class_path)(**entry.arguments)
        notifier.render_template_fields(values, SandboxedEnvironment(undefined=StrictUndefined))
    except (ImportError, AttributeError, TypeError, ValueError, TemplateError) as exc:
        raise ConfigurationError(
            f"{entry.class_path} cannot be created: {exc}. Received arguments: {', '.join(entry.arguments) or 'none'}. "
            f"Allowed in templates: {', '.join(values)}; of dag_run: {', '.join(_RUN)}. Correct the class, its "
            "arguments or the template by the documentation of the provider, or install the provider."
        ) from exc
    return notifier


def _notifier_class(path: str) -> type[BaseNotifier]:
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise TypeError(f"{name} is not a subclass of airflow.sdk.bases.notifier.BaseNotifier")
    return found


def _run(context: Context) -> dict[str, str]:
    """Return the fields ``_RUN`` of the run in a context of Airflow.

    In the context of a deadline, ``dag_run`` is a mapping. The context of a run that timed out has no ``dag_run``.
    """
    dag_run = context.get("dag_run")
    if isinstance(dag_run, Mapping):
        given = {**dag_run, "run_id": dag_run["dag_run_id"]}
    elif dag_run is not None:
        given = {name: getattr(dag_run, name, None) for name in _RUN}
    else:
        given = {"dag_id": context["dag"].dag_id, "run_id": context["run_id"]}
    return {name: str(given.get(name) or "") for name in _RUN}


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


def _report(name: str) -> str:
    """Return the URL of a model's report, or an empty string if Airflow's URL is not configured."""
    return f"{reports_url()}/model/{quote(name, safe='')}/report.html" if base_url() else ""


def _check() -> int:
    """Create all notifiers of the file on the command line, and return the exit code: 1 after an error, otherwise 0."""
    parser = argparse.ArgumentParser(description=f"Check a file for {NOTIFIERS.name}. This sends nothing.")
    parser.add_argument("file", type=Path)
    try:
        for entry in NotifierFile.load(parser.parse_args().file).notifier:
            create_notifier(entry, SAMPLE)
            print(f"{entry.class_path}: {', '.join(sorted(entry.events))}")
    except ConfigurationError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_check())
