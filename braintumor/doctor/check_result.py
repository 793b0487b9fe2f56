"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing fails of it."""
    WRONG = "wrong"
    """Work will fail, or its results cannot be trusted."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One line: which check, how it went, and in words what was found and what to do about it."""

    check: str
    state: State
    words: str


def ok(check: str, words: str) -> CheckResult:
    """All is well."""
    return CheckResult(check=check, state=State.OK, words=words)


def note(check: str, words: str) -> CheckResult:
    """Worth knowing."""
    return CheckResult(check=check, state=State.NOTE, words=words)


def wrong(check: str, words: str, *, do: str) -> CheckResult:
    """Something is wrong, and ``do`` mends it."""
    return CheckResult(check=check, state=State.WRONG, words=f"{words} {do}".strip())
