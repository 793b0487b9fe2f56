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
class Finding:
    """One line: which check, how it went, and in words what was found and what to do about it."""

    check: str
    state: State
    words: str


def ok(check: str, words: str) -> Finding:
    """All is well."""
    return Finding(check=check, state=State.OK, words=words)


def note(check: str, words: str) -> Finding:
    """Worth knowing."""
    return Finding(check=check, state=State.NOTE, words=words)


def wrong(check: str, words: str, *, do: str) -> Finding:
    """Something is wrong, and ``do`` mends it."""
    return Finding(check=check, state=State.WRONG, words=f"{words} {do}".strip())
