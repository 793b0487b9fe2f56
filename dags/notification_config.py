"""Read, check and call the Airflow notifiers of the TOML file in ``BRAINTUMOR_NOTIFIERS``.

::

    [[notifier]]
    class = "airflow.providers.http.notifications.HttpNotifier"     # any notifier of any provider
    events = ["failed", "late"]                                     # without it: every event
    [notifier.arguments]                                            # the arguments of the class
    http_conn_id = "pager"                                          # keep secrets in Airflow's connections
    json = { text = "{{ subject }}: {{ message }}" }                # strings may be Jinja templates

``python dags/notification_config.py FILE`` checks a file and sends nothing.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk.bases.notifier import BaseNotifier

from braintumor.config.variables import NOTIFIERS
from braintumor.errors import ConfigurationError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

VARIABLE = NOTIFIERS.name
TIMEOUT_S = 20
"""Timeout for all notifiers together. Airflow ends a callback of the dag-processor, such as ``failed``, after 50 s."""

_log = logging.getLogger(__name__)


class Event(StrEnum):
    """Name the events that notifiers can receive."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    WAITING = "waiting"
    REJECTED = "rejected"
    LATE = "late"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    WITHDRAWN = "withdrawn"

    @property
    def section(self) -> str:
        """Return the file and the anchor of this event's section in the runbook."""
        return f"docs/runbook.md#{self.value}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Identify the DAG run of an event. A field that Airflow does not provide is an empty string."""

    dag_id: str
    run_id: str
    run_type: str = ""
    triggering_user_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Notification:
    """Describe one event. A template can use the names of these fields."""

    event: Event
    subject: str
    message: str
    link: str
    dag_run: Run

    def names(self) -> dict[str, Any]:
        """Return the values that a template can use, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


_SAMPLE = Notification(
    event=Event.FAILED, subject="subject", message="message", link="link", dag_run=Run(dag_id="dag", run_id="run")
)


@dataclass(frozen=True, kw_only=True)
class NotifierEntry:
    """Hold one ``[[notifier]]`` table of the file.

    Attributes:
        where: the file and the number of the table, for error messages.
        class_path: the dotted name of the notifier's class.
        events: the events that the notifier receives.
        arguments: the arguments of the class. Strings are Jinja templates.
    """

    where: str
    class_path: str
    events: frozenset[Event]
    arguments: Mapping[str, Any] = field(repr=False)  # they can contain a secret by mistake

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Check the values of one table, and return its entry.

        Raises:
            ConfigurationError: a key, an event or a template is not allowed.
        """
        _require_known(values, ("class", "events", "arguments"), where=where)
        class_path, arguments = values.get("class"), values.get("arguments", {})
        if not isinstance(class_path, str) or "." not in class_path:
            raise ConfigurationError(
                f"{where}: `class` must be the dotted name of a notifier, such as "
                f"airflow.providers.http.notifications.HttpNotifier. Received: {class_path!r}. Name one."
            )
        if not isinstance(arguments, dict):
            raise ConfigurationError(
                f"{where}: `arguments` must be a table. Received: {arguments!r}. Write it as [notifier.arguments]."
            )
        where = f"{where} ({class_path})"
        events = _events(values.get("events", list(Event)), where=where)
        _rendered_arguments(arguments, _SAMPLE, where=where)
        return cls(where=where, class_path=class_path, events=events, arguments=arguments)

    def create(self, notification: Notification = _SAMPLE) -> BaseNotifier:
        """Return a new notifier with rendered arguments.

        The notifier does not render its arguments itself. It would take values from its own fields, such as an e-mail's
        ``subject``. It would also render text that a person has typed.

        Raises:
            ConfigurationError: the notifier does not exist, or does not accept these arguments.
        """
        notifier_class = _class(self.class_path, where=self.where)
        try:
            notifier: BaseNotifier = notifier_class(
                **_rendered_arguments(self.arguments, notification, where=self.where)
            )
        except TypeError as exc:
            raise ConfigurationError(
                f"{self.where}: the notifier does not accept these arguments: {exc}. Received: "
                f"{', '.join(self.arguments) or 'none'}. Correct [notifier.arguments] by the provider's documentation."
            ) from exc
        return notifier

    def send(self, notification: Notification, context: Mapping[str, Any]) -> None:
        """Send a notification with this notifier, and raise the notifier's own errors.

        ``context`` is Airflow's context.
        """
        values: Any = {**context, **notification.names()}
        self.create(notification).notify(values)


def read_entries(source: Path) -> tuple[NotifierEntry, ...]:
    """Return the notifiers of a file in the order of the file.

    Raises:
        ConfigurationError: the file cannot be read, or a value is not allowed.
    """
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(
            f"The file of notifiers {source} cannot be read: {exc.strerror}. Set {VARIABLE} to a TOML file that each "
            "scheduler, dag-processor and worker can read, or unset it to send no notifications."
        ) from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise ConfigurationError(f"The file of notifiers {source} is not TOML: {exc}. Correct that line.") from exc
    _require_known(values, ("notifier",), where=str(source))
    tables = values.get("notifier")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(
            f"{source} must contain one or more tables [[notifier]]. Received: {tables!r}. "
            f"Add one, or unset {VARIABLE}."
        )
    return tuple(NotifierEntry.parse(table, where=f"{source}, notifier {n}") for n, table in enumerate(tables, start=1))


def notify(notification: Notification, context: Mapping[str, Any]) -> None:
    """Call the notifiers of this event in parallel. Errors are logged and never raised.

    After ``TIMEOUT_S``, the function does not wait for a notifier, so that a hanging server does not delay the task.
    """
    path = NOTIFIERS.read()
    if not path:
        _log.info("%s: no notification is sent, because %s is not set", notification.event, VARIABLE)
        return
    try:
        entries = read_entries(Path(path))
    except ConfigurationError as exc:
        _log.error("%s: no notification is sent. %s", notification.event, exc)
        return
    attempts = [_Attempt(entry, notification, context) for entry in entries if notification.event in entry.events]
    if not attempts:
        _log.info("%s: no notification is sent, because no notifier in %s has this event", notification.event, path)
    for attempt in attempts:
        attempt.start()
    deadline = time.monotonic() + TIMEOUT_S
    for attempt in attempts:
        attempt.join(max(0.0, deadline - time.monotonic()))
        attempt.log_result()


class _Attempt(threading.Thread):
    """Call one notifier in a daemon thread, so that the process does not wait for the notifier at exit."""

    def __init__(self, entry: NotifierEntry, notification: Notification, context: Mapping[str, Any]) -> None:
        super().__init__(daemon=True, name=f"notify {notification.event}")
        self._entry, self._notification, self._context = entry, notification, context
        self._problem: str | None = f"no response within {TIMEOUT_S} s"

    def run(self) -> None:
        try:
            self._entry.send(self._notification, self._context)
        except Exception as exc:  # a notifier can raise any error
            self._problem = f"{type(exc).__name__}: {exc}"
        else:
            self._problem = None

    def log_result(self) -> None:
        if self._problem is None:
            _log.info("%s: sent by %s", self._notification.event, self._entry.where)
        else:
            _log.error(
                "%s: NOT sent by %s. %s. The task continues.",
                self._notification.event,
                self._entry.where,
                self._problem,
            )


def _require_known(values: Mapping[str, Any], known: Collection[str], *, where: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}. Allowed: {', '.join(known)}. Remove it or correct its spelling. Put "
                "arguments of the notifier under [notifier.arguments]."
            )


def _events(given: Any, *, where: str) -> frozenset[Event]:
    known = [str(event) for event in Event]
    if not isinstance(given, list) or not given or not all(event in known for event in given):
        raise ConfigurationError(
            f"{where}: `events` must be a list of some of: {', '.join(known)}. Received: {given!r}. Correct it, or "
            "remove it to receive all events."
        )
    return frozenset(Event(event) for event in given)


def _class(path: str, *, where: str) -> type[BaseNotifier]:
    module, _, name = path.rpartition(".")
    try:
        notifier_class = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"{where}: the class cannot be imported: {exc}. Correct its name, or install its provider on each machine "
            "of Airflow."
        ) from exc
    if not (isinstance(notifier_class, type) and issubclass(notifier_class, BaseNotifier)):
        raise ConfigurationError(
            f"{where}: `class` must be a subclass of airflow.sdk.bases.notifier.BaseNotifier. "
            f"Received: {notifier_class!r}. Name the provider's notifier, not its hook or operator."
        )
    return notifier_class


def _rendered_arguments(arguments: Mapping[str, Any], notification: Notification, *, where: str) -> dict[str, Any]:
    """Return the arguments with all strings rendered, at any depth.

    ``where`` names the table in error messages.

    Raises:
        ConfigurationError: a string is not a template, or uses an unknown name.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    environment, names = SandboxedEnvironment(undefined=StrictUndefined), notification.names()
    try:
        return {key: _rendered(value, environment, names) for key, value in arguments.items()}
    except (TemplateError, TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"{where}: a template in its arguments cannot be rendered: {exc}. Allowed: {', '.join(names)}; of dag_run: "
            f"{', '.join(f.name for f in fields(Run))}. Correct the template."
        ) from exc


def _rendered(value: Any, environment: SandboxedEnvironment, names: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return environment.from_string(value).render(names)
    if isinstance(value, dict):
        return {key: _rendered(inner, environment, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rendered(inner, environment, names) for inner in value]
    return value


def _check(arguments: list[str]) -> int:
    """Create all notifiers of the file in ``arguments``, and return the exit code.

    The code is 0 if all notifiers can be created, and 1 after an error in the file. It is 2 if ``arguments`` is not one
    file.
    """
    if len(arguments) != 1:
        print(f"Give one file: python dags/notification_config.py ${VARIABLE}", file=sys.stderr)
        return 2
    try:
        for entry in read_entries(Path(arguments[0])):
            entry.create()
            print(f"{entry.where}: {', '.join(sorted(entry.events))}")
    except ConfigurationError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_check(sys.argv[1:]))
