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
from braintumor.live_accuracy.reading import (
    THRESHOLDS,
    ReadingStep,
    compare_missed,
    compare_steps,
    predicted_steps,
    steps_on_test,
)
from braintumor.review.page import dashboard_page
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import Balance
from braintumor.scoring.run_report.rules import RunReportRules
from braintumor.scoring.run_report.status import make_run_status
from tests.audits import add_model, add_run, add_scans, group_test_images, scan
from tests.sql import change


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
        steps = [each.observed for each in compare_steps(connection, "m")]
        assert compare_steps(connection, "unknown") == []
    assert [missed(at(steps, each)) for each in (0.5, 0.2)] == pytest.approx([0.25, 0.0])
    assert [at(steps, each).share_read for each in (0.5, 0.2, 0.0)] == pytest.approx([0.3, 0.4, 1.0])


def step(value: float, low: float, high: float) -> ReadingStep:
    missed = Estimate(value=value, low=low, high=high, count=100, count_cluster=100)
    return ReadingStep(threshold=0.5, share_read=0.1, minutes=1, missed=missed, found_per_hour=None)


def test_interval_of_the_difference_gives_the_verdict() -> None:
    """Newcombe's example (a): 56 of 70 against 48 of 80, with Wilson intervals, gives 0.2 (0.0524 to 0.3339)."""
    first, second = step(0.8, 0.6920, 0.8766), step(0.6, 0.4905, 0.7002)
    assert compare_missed(first, second, 8) == "higher than predicted (+5.3 to +33.4)"
    assert compare_missed(second, first, 8) == "lower than predicted (-33.4 to -5.3)"
    assert compare_missed(first, first, 8) == "agrees (-13.2 to +13.2)"
    assert compare_missed(first, second, 7) == "not assessed: too few weeks with audited scans (7 of 8)"
    assert compare_missed(first, None, 8) == "not assessed: too few tumors or other images in the test split"


def test_related_test_images_widen_the_predicted_interval(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    change(empty_settings, "update test_prediction set label = 'glioma' where predicted_class <> 'normal'")
    change(empty_settings, "update test_prediction set probability_normal = 0.7 where predicted_class = 'glioma'")
    with transaction(engine) as connection:
        alone = at(predicted_steps(connection, "m", 20), 0.5).missed
    group_test_images(empty_settings, 40)
    with transaction(engine) as connection:
        related = at(predicted_steps(connection, "m", 20), 0.5).missed
    assert isinstance(alone, Estimate) and isinstance(related, Estimate)
    assert related.value == alone.value == pytest.approx(1 / 3)
    assert related.high - related.low > 1.5 * (alone.high - alone.low)


def test_dashboard_compares_production_with_the_test_split(empty_settings: Settings, engine: Engine) -> None:
    add_model(empty_settings)
    change(empty_settings, "update test_prediction set label = 'glioma' where predicted_class <> 'normal'")
    run = add_run(empty_settings)
    missed = [scan("normal", "glioma")] * 20
    add_scans(empty_settings, run, [scan("glioma", "glioma")] * 30 + missed + [scan("normal", "normal")] * 10)
    balance = Balance(**dict.fromkeys(Balance.__dataclass_fields__, 0))
    make_run_status(engine, load_run(engine, run), balance, RunReportRules.load(), settings=empty_settings)
    page = dashboard_page(engine, base="/r/")
    assert "Missed tumors against reading time" in page and "40.0 (27.2 to 54.3)" in page
    assert '<a href="./?tumor=0.2">0.2</a></th>' in page
    assert '<a href="./?tumor=0.2">0.2</a> (this site)</th>' in dashboard_page(engine, base="/r/", threshold=0.2)
    assert "not assessed: too few weeks with audited scans (1 of 8)" in page
    change(empty_settings, "update scan set processed_at = processed_at - scan_id % 8 * interval '7 days'")
    assert "higher than predicted (+" in dashboard_page(engine, base="/r/")
