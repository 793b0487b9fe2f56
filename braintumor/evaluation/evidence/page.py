"""Render the evidence about a model as a page (HTML) and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from braintumor.evaluation.evidence.build import CHECKLISTS, REPORT
from braintumor.evaluation.evidence.checklists import checklists
from braintumor.evaluation.evidence.content import Evidence, estimate, reason_of
from braintumor.evaluation.report.formatting import figure, interval
from braintumor.reports.jinja import page_environment

STATES = ("filled", "partly filled", "not assessed", "not filled")
_INTERVAL = estimate(0, 0, 0).keys()
_SMALL, _LARGE = 0.01, 100
"""Smaller numbers are shown with three significant digits, such as a learning rate. Larger ones have no fraction."""
_NOUNS = ("candidate", "cluster", "epoch", "file", "frame", "group", "image", "parameter", "run", "scan")
"""Nouns that are counted. They are plural on the page."""
_TITLES = {
    "intended_use": "Intended use",
    "gate": "Gate",
    "test": "Accuracy on the test split",
    "live": "Accuracy on new scans",
    "subgroups": "Subgroups",
    "alarms": "Alarms in operation",
    "decisions": "Decisions: promotions, approvals, rollbacks, rescores",
    "data": "Data and patients",
    "versions": "Versions and hashes",
    "limits": "Limits",
}


def evidence_json(evidence: Evidence) -> str:
    """Return the evidence as JSON with sorted keys. Times are in ISO 8601."""
    return json.dumps(evidence, indent=2, sort_keys=True, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> str:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


def evidence_page(evidence: Evidence, *, json_name: str, json_sha256: str) -> str:
    """Return the evidence as a page that loads no other file.

    Args:
        evidence: the evidence.
        json_name: file name of the same evidence as JSON, in the same folder.
        json_sha256: sha256 of that file.
    """
    rows = evidence[CHECKLISTS]
    return (
        _environment()
        .get_template("evidence.html")
        .render(
            about=evidence[REPORT]["about"],
            tiles=_tiles(evidence),
            sections={name: (title, evidence[name]) for name, title in _TITLES.items()},
            checklists=[(each, rows[each.key], _count_states(rows[each.key])) for each in checklists()],
            json_name=json_name,
            json_sha256=json_sha256,
        )
    )


def _tiles(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Return the tiles at the top of the page: title, value and detail. A value is empty if it is not assessed."""
    gate, runs = evidence["gate"]["verdict"], evidence["alarms"]["runs"]
    accuracies = {
        "Accuracy on test": evidence["test"]["overall"],
        "Clustered by patient": evidence["test"]["clustered"],
        "Accuracy on new scans": evidence["live"]["accuracy"],
    }
    return [
        _tile(
            "Gate",
            gate,
            "passed" if gate.get("passed") else "refused",
            f"against {gate.get('champion') or 'no champion'}",
        ),
        *(_tile(title, each, *_parts(each.get("accuracy"))) for title, each in accuracies.items()),
        _tile("Red scoring runs", runs, _cell(runs.get("count_red")), f"of {_cell(runs.get('count_run'))}"),
    ]


def _tile(title: str, block: Any, value: str, detail: str) -> tuple[str, str, str]:
    return (title, "", _cell(block)) if reason_of(block) else (title, value, detail)


def _parts(accuracy: Mapping[str, float] | None) -> tuple[str, str]:
    """Return an accuracy and its interval as two texts."""
    if accuracy is None:
        return "", ""
    return figure(accuracy["value"]), f"{figure(accuracy['low'])} to {figure(accuracy['high'])}"


def _count_states(rows: list[dict[str, Any]]) -> str:
    counts = {state: sum(row["state"] == state for row in rows) for state in STATES}
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _cell(value: Any) -> str:
    """Format one value for people."""
    if reason := reason_of(value):
        return f"not assessed: {reason}"
    if isinstance(value, Mapping) and value.keys() == _INTERVAL:
        return interval(**value)
    match value:
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.3g}" if abs(value) < _SMALL else f"{value:,.0f}" if abs(value) >= _LARGE else figure(value)
        case int():
            text = f"{value:,}"
        case datetime():
            text = f"{value:%Y-%m-%d %H:%M}"
        case Mapping():
            text = ", ".join(f"{name.replace('_', ' ')} {_cell(each)}" for name, each in value.items())
        case list():
            text = "; ".join(map(_cell, value))
        case _:
            text = "" if value is None else str(value)
    return text or "none"


def _words(key: str) -> str:
    """Return a key as words for people: ``count_image_erased_later`` is ``Images erased later``."""
    words = key.replace("_", " ").replace("sha256", "SHA-256").removeprefix("count ").removesuffix(" at")
    first, *rest = words.split()
    words = " ".join([f"{first}s" if key.startswith("count_") and first in _NOUNS else first, *rest])
    return words[:1].upper() + words[1:]


@cache
def _environment() -> Environment:
    environment = page_environment(Path(__file__).with_name("templates"))
    environment.filters |= {"cell": _cell, "words": _words}
    environment.globals |= {"reason_of": reason_of}
    return environment
