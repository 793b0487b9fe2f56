"""Who is told: the Airflow notifiers of the TOML file that ``BRAINTUMOR_NOTIFIERS`` names, checked and called.

::

    [[notifier]]
    class = "airflow.providers.http.notifications.HttpNotifier"     # any notifier of any provider
    events = ["failed", "late"]                                     # without it: every event
    [notifier.arguments]                                            # what the class is made with
    http_conn_id = "pager"                                          # secrets stay in Airflow's connections
    json = { text = "{{ subject }}: {{ message }}" }                # strings may be Jinja templates

``python dags/notification_config.py FILE`` checks a file, and tells nobody.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Collection, Mapping
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
"""For all notifiers together. Airflow ends a dag-processor's callback, where ``failed`` is told, after 50 s."""

_log = logging.getLogger(__name__)


class Event(StrEnum):
    """What people can be told of."""

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
        """Where the runbook says what it means and what to do."""
        return f"docs/runbook.md#{self.value}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The DAG run that an event is of, the same wherever it is told; an empty string is what Airflow did not tell."""

    dag_id: str
    run_id: str
    run_type: str = ""
    triggering_user_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One event in words. Its fields are the names that a template may use."""

    event: Event
    subject: str
    message: str
    link: str
    dag_run: Run

    def names(self) -> dict[str, Any]:
        """What a template finds under which name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


_SAMPLE = Notification(
    event=Event.FAILED, subject="subject", message="message", link="link", dag_run=Run(dag_id="dag", run_id="run")
)


@dataclass(frozen=True, kw_only=True)
class NotifierEntry:
    """One ``[[notifier]]`` of the file."""

    where: str
    class_path: str
    events: frozenset[Event]
    arguments: Mapping[str, Any] = field(repr=False)  # somebody may have put a secret there after all

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Check the plain values of one table.

        Raises:
            ConfigurationError: a key, an event or a template is wrong.
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
        _filled(arguments, _SAMPLE, where=where)
        return cls(where=where, class_path=class_path, events=events, arguments=arguments)

    def make(self, news: Notification = _SAMPLE) -> BaseNotifier:
        """The notifier, its arguments filled in.

        They are filled in here and not by the notifier, which would take a field of its own, such as an e-mail's
        ``subject``, for ours, and would run what a person typed as a template.

        Raises:
            ConfigurationError: there is no such notifier, or it does not take these arguments.
        """
        made = _class(self.class_path, where=self.where)
        try:
            notifier: BaseNotifier = made(**_filled(self.arguments, news, where=self.where))
        except TypeError as exc:
            raise ConfigurationError(
                f"{self.where}: it does not take these arguments: {exc}. Received: "
                f"{', '.join(self.arguments) or 'none'}. Correct [notifier.arguments] by the provider's documentation."
            ) from exc
        return notifier

    def send(self, news: Notification, context: Mapping[str, Any]) -> None:
        """Tell by this notifier; raises whatever it raises."""
        self.make(news).notify({**context, **news.names()})


def read_entries(source: Path) -> tuple[NotifierEntry, ...]:
    """The notifiers of a file, in its order.

    Raises:
        ConfigurationError: it cannot be read, or says something that is not allowed.
    """
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(
            f"The file of notifiers {source} cannot be read: {exc.strerror}. Set {VARIABLE} to a TOML file that every "
            "scheduler, dag-processor and worker can read, or unset it, and nobody is told."
        ) from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise ConfigurationError(f"The file of notifiers {source} is not TOML: {exc}. Correct that line.") from exc
    _require_known(values, ("notifier",), where=str(source))
    tables = values.get("notifier")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(
            f"{source} must hold one or more tables [[notifier]]. Received: {tables!r}. Add one, or unset {VARIABLE}."
        )
    return tuple(NotifierEntry.parse(table, where=f"{source}, notifier {n}") for n, table in enumerate(tables, start=1))


def notify(news: Notification, context: Mapping[str, Any]) -> None:
    """Tell whoever wants to hear of this event, all side by side. Never raises: what went wrong is in the log.

    Who has not answered in time is left behind, so that a server that hangs holds up neither the others nor the task.
    """
    path = NOTIFIERS.read()
    if not path:
        _log.info("%s: nobody is told, because %s is not set", news.event, VARIABLE)
        return
    try:
        entries = read_entries(Path(path))
    except ConfigurationError as exc:
        _log.error("%s: nobody is told. %s", news.event, exc)
        return
    attempts = [_Attempt(entry, news, context) for entry in entries if news.event in entry.events]
    if not attempts:
        _log.info("%s: nobody is told, because no notifier of %s names this event", news.event, path)
    for attempt in attempts:
        attempt.start()
    give_up_at = time.monotonic() + TIMEOUT_S
    for attempt in attempts:
        attempt.join(max(0.0, give_up_at - time.monotonic()))
        attempt.say()


class _Attempt(threading.Thread):
    """One notifier at work. A daemon: the process does not wait for it at its end."""

    def __init__(self, entry: NotifierEntry, news: Notification, context: Mapping[str, Any]) -> None:
        super().__init__(daemon=True, name=f"tell {news.event}")
        self._entry, self._news, self._context = entry, news, context
        self._problem: str | None = f"no answer within {TIMEOUT_S} s; left behind"

    def run(self) -> None:
        try:
            self._entry.send(self._news, self._context)
        except Exception as exc:  # a notifier is anybody's code
            self._problem = f"{type(exc).__name__}: {exc}"
        else:
            self._problem = None

    def say(self) -> None:
        if self._problem is None:
            _log.info("%s: told by %s", self._news.event, self._entry.where)
        else:
            _log.error("%s: NOT told by %s. %s. The task goes on.", self._news.event, self._entry.where, self._problem)


def _require_known(values: Mapping[str, Any], known: Collection[str], *, where: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}. Allowed: {', '.join(known)}. Remove it or correct its spelling; what a "
                "notifier is made with goes under [notifier.arguments]."
            )


def _events(given: Any, *, where: str) -> frozenset[Event]:
    known = [str(event) for event in Event]
    if not isinstance(given, list) or not given or not all(event in known for event in given):
        raise ConfigurationError(
            f"{where}: `events` must be a list of some of: {', '.join(known)}. Received: {given!r}. Correct it, or "
            "leave it out to be told of every event."
        )
    return frozenset(Event(event) for event in given)


def _class(path: str, *, where: str) -> type[BaseNotifier]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"{where}: it cannot be imported: {exc}. Correct its name, or install the package of its provider wherever "
            "Airflow runs."
        ) from exc
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise ConfigurationError(
            f"{where}: it is no notifier: a subclass of airflow.sdk.bases.notifier.BaseNotifier. Received: {found!r}. "
            "Name the provider's notifier, not its hook or operator."
        )
    return found


def _filled(arguments: Mapping[str, Any], news: Notification, *, where: str) -> dict[str, Any]:
    """The arguments with every string in them rendered, however deep.

    Raises:
        ConfigurationError: a string is no template, or uses a name that there is not.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    environment, names = SandboxedEnvironment(undefined=StrictUndefined), news.names()
    try:
        return {key: _rendered(value, _renderer(environment, names)) for key, value in arguments.items()}
    except (TemplateError, TypeError, ValueError) as exc:
        raise ConfigurationError(
            f"{where}: a template in its arguments cannot be rendered: {exc}. Allowed: {', '.join(names)}; of dag_run: "
            f"{', '.join(f.name for f in fields(Run))}. Correct the template."
        ) from exc


def _renderer(environment: SandboxedEnvironment, names: Mapping[str, Any]) -> Callable[[str], str]:
    return lambda text: environment.from_string(text).render(names)


def _rendered(value: Any, render: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return render(value)
    if isinstance(value, dict):
        return {key: _rendered(inner, render) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rendered(inner, render) for inner in value]
    return value


def _check(arguments: list[str]) -> int:
    """Read a file and make every notifier of it; returns the exit code."""
    if len(arguments) != 1:
        print(f"Name one file: python dags/notification_config.py ${VARIABLE}", file=sys.stderr)
        return 2
    try:
        for entry in read_entries(Path(arguments[0])):
            entry.make()
            print(f"{entry.where}: {', '.join(sorted(entry.events))}")
    except ConfigurationError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_check(sys.argv[1:]))
