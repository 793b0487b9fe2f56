"""Print the output of commands: JSON for scripts, tables for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON, for scripts.")


def command_key() -> str:
    """Return a run key for one call of a command, from the current time. A DAG run uses its run id instead."""
    return f"command {datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def print_json(value: Any) -> None:
    """Print a value as JSON, with dates in ISO 8601."""
    click.echo(json.dumps(value, indent=2, default=_as_json))


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)  # a datetime is a date too


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows under a header, with aligned columns."""
    click.echo(aligned(columns, rows))


def print_values(values: Mapping[str, Any]) -> None:
    """Print each value that is not empty after its name. A list of mappings has one line for each mapping."""
    for name, value in values.items():
        items = value if isinstance(value, list) and all(isinstance(item, Mapping) for item in value) else [value]
        for item in items:
            if shown := _as_line(item):
                click.echo(f"{name}: {shown}")


def _as_line(value: object) -> str:
    """Return a value as one line of text, empty for ``None`` and for an empty text, list or mapping."""
    if isinstance(value, Mapping):
        parts = {key: _as_line(part) for key, part in value.items()}
        return ", ".join(f"{key} {part}" for key, part in parts.items() if part)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def aligned(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a text of rows under a header, with aligned columns."""
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def unwritable(path: Path, error: OSError, *, option: str) -> click.BadParameter:
    """Return the error for an ``option`` whose path cannot be written."""
    return click.BadParameter(
        f"{path} cannot be written: {error.strerror or error}. Name a writable path.", param_hint=option
    )
