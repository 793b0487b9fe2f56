"""Start, watch and stop one long-running process of the stack.

The pid and the start time together identify a process, so another process with a reused pid is never signaled. A mark
in the environment identifies the children of a process, also those that left its process group.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from braintumor.config.variables import STACK_MARK
from devstack.errors import ServiceFailedError
from devstack.state import State, inherited_environment

MARK: Final = STACK_MARK.name
KEEP_MARK: Final = {"SPT_NOENV": "1"}  # otherwise Airflow's process titles overwrite the environment
ORDERLY_END_S: Final = 10  # Airflow's scheduler takes 3 to 6 s to end once its tasks are gone
SAME_START_S: Final = 2.0  # the kernel's start time is exact, but reading it moves when the clock is set


class Service:
    """Control one process, which has a log file and a record of its pid.

    A later command finds the running process again by its record.
    """

    def __init__(
        self, state: State, name: str, *, stop_signal: signal.Signals = signal.SIGTERM, grace_s: float = 10
    ) -> None:
        self.state = state
        self.name = name
        self.log = state.log(name)
        self._file = f"run/{name}"
        self._mark = f"{state.secrets.stack_mark} {name}"
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._popen: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: str | None = None,
        cwd: Path | None = None,
    ) -> bool:
        """Start the process, unless it runs with the same command and environment. Replace a process that differs.

        Returns:
            Whether a process was started.
        """
        settings = fingerprint(command, environment)
        if self.process() is not None:
            if self._record().get("settings") == settings:
                return False
            self.stop()
        kill(self._orphans())
        self._popen = self._spawn(command, environment, user, cwd)
        self._remember(self._popen.pid, settings)
        return True

    def process(self) -> psutil.Process | None:
        """Return the running process, or ``None`` if it ended or its pid now belongs to another process."""
        if self._popen is not None and self._popen.poll() is None:
            return psutil.Process(self._popen.pid)  # a child of this process, so its pid is not reused
        record = self._record()
        return same_process(record["pid"], record["create_time"]) if record else None

    def wait(self, ready: Callable[[], bool], *, timeout_s: float, poll_s: float = 0.1) -> None:
        """Wait until ``ready()`` is true.

        Raises:
            ServiceFailedError: the process ended, or time ran out. The message has the last lines of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.process() is None:
                raise ServiceFailedError(f"{self.name} ended before it was ready. {self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServiceFailedError(f"{self.name} was not ready after {timeout_s:.0f} s. {self.log_tail()}")
            time.sleep(poll_s)

    def stop(self) -> None:
        """End the process and all its descendants.

        If the process still runs after the grace time, its children are killed, because it may wait for them. Airflow's
        scheduler waits in this way, and resumes its tasks at its next start. Finally the process itself is killed.
        """
        if process := self.process():
            family = descendants(process)
            has_ended = end(process, self._stop_signal, self._grace_s)
            if not has_ended and family:
                kill([*family, *descendants(process)])
                wait_gone([process], ORDERLY_END_S)
            kill([process, *family])
        kill(self._orphans())
        if self._popen is not None:
            self._popen.wait()
        self._forget()

    def log_tail(self, count_lines: int = 25) -> str:
        """Return the last lines of the log as text. The first line of the text names the log file."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        lines = text.splitlines()[-count_lines:] or ["(empty)"]
        return "\n".join([f"Its log, {self.log}, ends with:", *(f"    {line}" for line in lines)])

    def _spawn(
        self, command: Sequence[str], environment: Mapping[str, str], user: str | None, cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        complete = {**inherited_environment(), **environment, MARK: self._mark, **KEEP_MARK}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=complete,
                cwd=cwd or self.state.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )

    def _orphans(self) -> list[psutil.Process]:
        """Return all processes that this service started, also those whose parent has ended."""
        return [process for process in psutil.process_iter() if _has_mark(process, self._mark)]

    def _record(self) -> dict[str, Any]:
        return self.state.read(self._file)

    def _remember(self, pid: int, settings: str) -> None:
        try:
            create_time = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return  # it ended at once: `wait` reports it
        self.state.write(self._file, {"pid": pid, "create_time": create_time, "settings": settings})

    def _forget(self) -> None:
        (self.state.folder / f"{self._file}.json").unlink(missing_ok=True)


def fingerprint(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a hash of a command and its environment. The record has only this hash, because of the passwords."""
    text = repr([list(command), sorted(environment.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def same_process(pid: int, create_time: float) -> psutil.Process | None:
    """Return the process with this pid if it is alive and began at ``create_time``, otherwise ``None``."""
    try:
        process = psutil.Process(pid)
        is_same = abs(process.create_time() - create_time) < SAME_START_S
        return process if is_same and is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def end(process: psutil.Process, first_signal: signal.Signals, grace_s: float) -> bool:
    """Send ``first_signal`` to a process, and return whether it ended within ``grace_s`` seconds."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(first_signal)
    return wait_gone([process], grace_s)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill the processes that still run. psutil compares start times, so it never signals a reused pid."""
    left = [process for process in processes if is_alive(process)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_gone(left, 5)


def wait_gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Wait for processes to end, and return whether all did."""
    deadline = time.monotonic() + timeout_s
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Return whether the process still runs. A process that ended as a zombie does not count as running."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False  # another user's, or gone


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return all descendants of a process, or an empty list if the process has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
