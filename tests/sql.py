"""Straight to the rows: what a test asks of a database, and what it does to one behind the library's back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from braintumor import database
from braintumor.settings import Settings


def rows(settings: Settings, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """Run one statement; its rows, or none where it returns none."""
    engine = database.connect(settings)
    try:
        with database.transaction(engine) as connection:
            result = connection.execute(text(sql), values)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


change = rows
"""The same, where it is run for what it does."""


def let_answer(settings: Settings, model_version_id: int) -> None:
    """Make all answers, and the runs that gave them, another model's."""
    change(
        settings,
        """
        set constraints all deferred;
        update prediction set model_version_id = :model;
        update scoring_run set model_version_id = :model
        where scoring_run_id in (select scoring_run_id from prediction)""",
        model=model_version_id,
    )
