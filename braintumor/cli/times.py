"""Read times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import click


def as_time(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Return the time that an option states in ISO 8601. A time without an offset is in UTC."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError as exc:
        raise click.BadParameter(
            f"{value!r} is not a time. Allowed: 2026-11-23, 2026-11-23T07:00 or 2026-11-23T07:00+01:00. Correct it."
        ) from exc
    return time if time.tzinfo else time.replace(tzinfo=UTC)
