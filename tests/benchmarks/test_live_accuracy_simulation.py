"""Test the simulation of the live accuracy with few periods of made-up predictions."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from benchmarks.live_accuracy import SCENARIOS, Predictions, alarms, comparisons, coverage
from braintumor.labels import CLASSES


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Return 2,000 images of 1,000 persons, of which about 85% are predicted correctly."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("label", "person", *(label.value for label in CLASSES)))
        for number in range(2000):
            label = number // 2 % len(CLASSES)
            logits = random.normal(size=len(CLASSES))
            logits[label] += 2.5
            writer.writerow((CLASSES[label].value, number // 2, *np.exp(logits) / np.exp(logits).sum()))
    return Predictions.read(path)


@pytest.mark.parametrize("number", range(4))
def test_weighted_intervals_cover_the_hidden_accuracy(predictions: Predictions, number: int) -> None:
    found = coverage(predictions, SCENARIOS[number], periods=100)
    assert found["weighted, with confidences"].covered >= 0.88
    assert abs(found["weighted"].error) < 0.01


def test_errors_of_reviewers_bias_the_estimate(predictions: Predictions) -> None:
    independent, alike = (coverage(predictions, scenario, periods=50) for scenario in SCENARIOS[-2:])
    assert independent["weighted"].error < -0.05 and alike["weighted"].error > 0.05
    corrected = "the same, without errors of reviewers"
    assert abs(independent[corrected].error) < 0.02 and abs(alike[corrected].error) > 0.05


def test_missed_tumors_differ_from_the_test_split_if_tumors_are_lost(predictions: Predictions) -> None:
    same, lost = comparisons(predictions, periods=60), comparisons(predictions, lost=0.4, periods=20)
    assert (same["higher"] + same["lower"] <= 0.15).all()
    assert (lost["higher"][1:] >= 0.8).all() and not lost["lower"].any()


def test_few_years_have_a_false_alarm() -> None:
    assert np.isfinite(alarms(accuracy=0.9, target=0.9, years=1000)).mean() <= 0.05
    assert np.isfinite(alarms(accuracy=0.7, target=0.9, years=100)).all()
