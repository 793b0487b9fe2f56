"""Define the results of checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    NOTE = "note"
    """Information. No work fails because of it."""
    WRONG = "wrong"
    """Work will fail, or its results are not reliable."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check, shown as one line: name of the check, outcome, and a message with the fix."""

    check: str
    state: State
    message: str


def ok(check: str, message: str) -> CheckResult:
    """Return the result of a passed check."""
    return CheckResult(check=check, state=State.OK, message=message)


def note(check: str, message: str) -> CheckResult:
    """Return the result of a check with information. No work fails because of it."""
    return CheckResult(check=check, state=State.NOTE, message=message)


def wrong(check: str, message: str, *, do: str) -> CheckResult:
    """Return the result of a failed check. ``do`` says how to fix the fault."""
    return CheckResult(check=check, state=State.WRONG, message=f"{message} {do}".strip())
