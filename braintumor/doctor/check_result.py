"""Results of checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    NOTE = "note"
    """Information. No work fails because of it."""
    WRONG = "wrong"
    """Work will fail, or its results are not reliable."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One line of output: the name of the check, its outcome, and a message with the fix."""

    check: str
    state: State
    message: str


def ok(check: str, message: str) -> CheckResult:
    """Return the result of a passed check."""
    return CheckResult(check=check, state=State.OK, message=message)


def note(check: str, message: str) -> CheckResult:
    """Return a result with information."""
    return CheckResult(check=check, state=State.NOTE, message=message)


def wrong(check: str, message: str, *, do: str) -> CheckResult:
    """Return the result of a failed check. ``do`` is the fix."""
    return CheckResult(check=check, state=State.WRONG, message=f"{message} {do}".strip())
