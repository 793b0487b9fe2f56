"""Define the results of the checks of an installation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Name the outcomes of a check."""

    OK = "ok"
    NOTE = "note"
    """Information for the operator. No work fails because of this information."""
    WRONG = "wrong"
    """Work will fail, or its results are not reliable."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Hold the result of a check: its name, its outcome, and a message that says how to fix a fault."""

    check: str
    state: State
    message: str


def ok(check: str, message: str) -> CheckResult:
    """Return the result of a passed check."""
    return CheckResult(check=check, state=State.OK, message=message)


def note(check: str, message: str) -> CheckResult:
    """Return the result of a check that found something to know. No work fails because of this result."""
    return CheckResult(check=check, state=State.NOTE, message=message)


def wrong(check: str, message: str, *, do: str) -> CheckResult:
    """Return the result of a failed check. ``do`` says how to fix the fault."""
    return CheckResult(check=check, state=State.WRONG, message=f"{message} {do}".strip())
