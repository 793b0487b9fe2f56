"""Define the form of the evidence: sections of blocks, and blocks that are not assessed.

A block is a text, a list of texts, a mapping of facts, or a list of mappings (a table). A block, or a value in it, can
be "not assessed" with a reason. The keys are the same in the JSON file and on the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, TextClause

from braintumor.registry.model_versions import ModelVersion

Evidence = dict[str, dict[str, Any]]
"""Name of the section -> name of the block -> content."""

_REASON = "not_assessed"


def not_assessed(reason: str) -> dict[str, str]:
    """Return the content of a block or value without enough data. ``reason`` says what is missing."""
    return {_REASON: reason}


def reason_of(content: Any) -> str:
    """Return why a block or value is not assessed, or an empty text if it is assessed."""
    return str(content[_REASON]) if isinstance(content, Mapping) and content.keys() == {_REASON} else ""


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    """Return a value with its 95% interval."""
    return {"value": value, "low": low, "high": high}


def rows(connection: Connection, query: TextClause, model: ModelVersion, **values: Any) -> list[dict[str, Any]]:
    """Return the rows of a query about a model as mappings.

    The query can use the parameters ``model`` (the number), ``name``, ``snapshot`` and those of ``values``.
    """
    known = {"model": model.model_version_id, "name": model.model_name, "snapshot": model.snapshot_id}
    return [dict(row._mapping) for row in connection.execute(query, known | values)]
