"""State which block of the evidence fills each item of a checklist, and what a site has to add.

The file ``checklists.toml`` has the items of TRIPOD+AI, CLAIM 2024 and a predetermined change control plan.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from braintumor.config.rule_files import Table
from braintumor.errors import EvaluationError
from braintumor.evaluation.evidence.content import Evidence, reason_of

_PACKAGED = Path(__file__).with_name("checklists.toml")


class Item(Table):
    """Hold one item of a checklist.

    Attributes:
        id: number of the item in its source.
        title: short title in our words.
        keys: blocks of the evidence that fill the item, as ``section.block``.
        add: what a site has to add, empty if nothing.
    """

    id: str
    title: str
    keys: list[str] = Field(default_factory=list)
    add: str = ""


class Checklist(Table):
    """Hold the items of one published checklist. ``key`` is its name in JSON."""

    key: str
    title: str
    source: str
    items: list[Item]


@cache
def checklists() -> tuple[Checklist, ...]:
    """Return the checklists of the packaged file."""
    values = tomllib.loads(_PACKAGED.read_text(encoding="utf-8"))["checklist"]
    return tuple(Checklist.checked(each, where=f"{_PACKAGED.name}: ", error=EvaluationError) for each in values)


def filled(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each checklist, by its key: item, title, state, the keys that fill it, and a note.

    The state is ``filled``, ``partly filled``, ``not assessed`` or ``not filled``. The note says what is missing.
    """
    return {checklist.key: [_row(item, evidence) for item in checklist.items] for checklist in checklists()}


def _row(item: Item, evidence: Evidence) -> dict[str, Any]:
    reasons = {key: reason_of(_block(evidence, key)) for key in item.keys}
    missing = [f"{key} is not assessed: {reason}." for key, reason in reasons.items() if reason]
    if not item.keys:
        state = "not filled"
    elif len(missing) == len(item.keys):
        state = "not assessed"
    else:
        state = "partly filled" if missing or item.add else "filled"
    note = " ".join([*missing, *([item.add] if item.add else [])])
    return {"item": item.id, "title": item.title, "state": state, "keys": item.keys, "note": note}


def _block(evidence: Evidence, key: str) -> Any:
    section, _, block = key.partition(".")
    return evidence[section][block]
