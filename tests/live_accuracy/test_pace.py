"""Test the median time of a review, of one person and of all reviewers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.live_accuracy.pace import median_seconds
from tests.audits import add_model, add_run, add_scans, scan
from tests.sql import change


@pytest.fixture
def engine(empty_settings: Settings) -> Iterator[Engine]:
    made = database.connect(empty_settings)
    yield made
    made.dispose()


def test_a_pace_needs_twenty_timed_reviews(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    add_scans(empty_settings, add_run(empty_settings), [scan("glioma")] * 20)
    add_timed(empty_settings, "ann", seconds=4, count=19)
    assert paces(engine) == (20, 20, 20)
    add_timed(empty_settings, "bob", seconds=90, count=1)
    assert paces(engine) == (4, 20, 20)
    add_timed(empty_settings, "ann", seconds=4, count=20)
    assert paces(engine) == (4, 4, 20)


def test_the_newest_hundred_reviews_of_a_person_count(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    add_scans(empty_settings, add_run(empty_settings), [scan("glioma")] * 201)
    add_timed(empty_settings, "ann", seconds=30, count=101)
    add_timed(empty_settings, "ann", seconds=6, count=100, first=101)
    assert paces(engine) == (30, 6, 20)


def add_timed(settings: Settings, reader: str, *, seconds: float, count: int, first: int = 0) -> None:
    """Add a timed review of each of ``count`` scans, from the scan at the position ``first``."""
    change(
        settings,
        """
        insert into review (
            request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind, seconds)
        select gen_random_uuid(), scan_id, 0, 1, :reader, 'glioma', 'risk', false, :seconds
        from prediction order by scan_id limit :count offset :first""",
        reader=reader, seconds=seconds, count=count, first=first,
    )  # fmt: skip


def paces(engine: Engine) -> tuple[float, float, float]:
    """Return the pace of all reviewers, of ann and of bob."""
    with transaction(engine) as connection:
        return (
            median_seconds(connection),
            median_seconds(connection, person="ann"),
            median_seconds(connection, person="bob"),
        )
