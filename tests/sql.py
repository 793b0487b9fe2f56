"""Read and change rows of a test's database directly, without the library."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.labels import CLASSES, TumorClass


def rows(settings: Settings, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, or an empty list if it returns none."""
    engine = database.connect(settings)
    try:
        with database.transaction(engine) as connection:
            result = connection.execute(text(sql), values)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


change = rows
"""Alias of ``rows`` for statements that change rows."""


def assign_predictions(settings: Settings, model_version_id: int) -> None:
    """Assign all predictions and their runs to another model."""
    change(
        settings,
        """
        set constraints all deferred;
        update prediction set model_version_id = :model;
        update scoring_run set model_version_id = :model
        where scoring_run_id in (select scoring_run_id from prediction)""",
        model=model_version_id,
    )


def set_prediction(settings: Settings, table: str, scan_id: int, label: TumorClass, confidence: float) -> None:
    """Set the predicted class and the probabilities of a scan's predictions in ``table``."""
    others = (1 - confidence) / 3
    values = {f"p_{c.value}": confidence if c is label else others for c in CLASSES}
    columns = ", ".join(f"probability_{c.value} = :p_{c.value}" for c in CLASSES)
    change(
        settings,
        f"update {table} set predicted_class = :label, confidence = :confidence, {columns} where scan_id = :scan",
        label=label.value,
        confidence=confidence,
        scan=scan_id,
        **values,
    )


READERS = """
    select distinct view.relname
    from pg_depend
    join pg_rewrite on pg_rewrite.oid = pg_depend.objid
    join pg_class as view on view.oid = pg_rewrite.ev_class
    where pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.refobjid = cast(:table as regclass)"""
"""Selects the views that read a table, from the catalog."""
