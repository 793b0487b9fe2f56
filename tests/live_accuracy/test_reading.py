"""Test missed tumors against reading time, on numbers and on rows in Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.live_accuracy.estimate import Estimate
from braintumor.live_accuracy.reading import THRESHOLDS, ReadingStep, live_steps, median_seconds, steps_on_test
from braintumor.review.page import dashboard_page
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import make_run_status
from tests.audits import add_model, add_run, add_scans, scan


@pytest.fixture
def engine(empty_settings: Settings) -> Iterator[Engine]:
    made = database.connect(empty_settings)
    yield made
    made.dispose()


def at(steps: list[ReadingStep], threshold: float) -> ReadingStep:
    return steps[THRESHOLDS.index(threshold)]


def missed(step: ReadingStep) -> float:
    assert isinstance(step.missed, Estimate)
    return step.missed.value


def test_lower_threshold_costs_minutes_and_finds_tumors() -> None:
    """100 tumors, of which 80 are above 0.5 and 10 at 0.3; 100 others, of which 10 are at 0.3 and 90 at 0."""
    is_tumor = np.repeat([1.0, 0.0], 100)
    probability = np.concatenate([np.repeat([0.6, 0.3, 0.001], [80, 10, 10]), np.repeat([0.3, 0.0], [10, 90])])
    steps = steps_on_test(is_tumor, probability, [str(i) for i in range(200)], seconds=36)
    assert [missed(at(steps, each)) for each in (0.5, 0.2, 0.0)] == pytest.approx([0.2, 0.1, 0.0])
    assert at(steps, 0.5).share_read == pytest.approx(0.1 * 0.8)
    assert at(steps, 0.2).minutes == pytest.approx(60 * (0.1 * 0.9 + 0.9 * 0.1))
    found = at(steps, 0.2).found_per_hour
    assert found is not None and found[1] < found[0] < found[2]
    assert found[0] == pytest.approx(0.1 * 0.1 / (0.1 * 0.1 + 0.9 * 0.1) * 100), "of 100 scans read in one hour"
    assert at(steps, 0.1).found_per_hour is None, "no scan is between the thresholds"


def test_few_tumors_are_not_assessed() -> None:
    few = steps_on_test(np.repeat([1.0, 0.0], [5, 50]), np.linspace(0, 1, 55), [str(i) for i in range(55)], seconds=20)
    assert at(few, 0.5).missed_words == "not assessed: 5 of 20 required patients or scans have a finding"
    assert steps_on_test(np.zeros(50), np.zeros(50), [str(i) for i in range(50)], seconds=20) == []


def test_steps_of_production_weight_audited_scans(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    run = add_run(empty_settings)
    tumors = [scan("glioma", "glioma")] * 30 + [scan("normal", "glioma", confidence=0.7)] * 10
    unread = [scan("normal", confidence=0.995, chance=None)] * 60
    add_scans(empty_settings, run, [*tumors, *unread])
    with transaction(engine) as connection:
        steps = live_steps(connection, "m", 20)
        assert live_steps(connection, "unknown", 20) == []
        assert median_seconds(connection) == 20
    assert [missed(at(steps, each)) for each in (0.5, 0.2)] == pytest.approx([0.25, 0.0])
    assert [at(steps, each).share_read for each in (0.5, 0.2, 0.0)] == pytest.approx([0.3, 0.4, 1.0])


def test_dashboard_compares_production_with_the_test_split(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    run = add_run(empty_settings)
    add_scans(empty_settings, run, [scan("glioma", "glioma")] * 30 + [scan("normal", "normal")] * 10)
    balance = Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0))
    make_run_status(engine, load_run(engine, run), balance, RunReportRules.load(), settings=empty_settings)
    page = dashboard_page(engine, base="/r/")
    assert "Missed tumors against reading time" in page and "0.0 (0.0 to 12.2)" in page
