"""Test the correction of the live accuracy for errors of reviewers."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.live_accuracy.estimate import Estimate
from braintumor.live_accuracy.reviewer_errors import (
    correct_for_reviewers,
    correlation_of_estimates,
    error_of_reviewers,
)


def share(value: float, around: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - around, high=min(1.0, value + around), count=100, count_cluster=100)


@pytest.mark.parametrize("error", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("accuracy", [0.5, 0.9])
def test_accuracy_and_error_are_found_again(accuracy: float, error: float) -> None:
    agreement = accuracy * (1 - error) + (1 - accuracy) * error / 3
    repeated = (1 - error) ** 2 + error**2 / 3
    assert error_of_reviewers(repeated) == pytest.approx(error, abs=1e-9)
    found = correct_for_reviewers(share(agreement), share(repeated, around=0.01))
    assert isinstance(found, Estimate) and found.value == pytest.approx(accuracy)
    assert found.low < accuracy < found.high and (found.count, found.count_cluster) == (100, 100)


def test_readers_without_errors_change_nothing_but_the_upper_end() -> None:
    agreement = share(0.8)
    found = correct_for_reviewers(agreement, share(1.0, around=0.06))
    assert isinstance(found, Estimate)
    assert (found.value, found.low) == (pytest.approx(0.8), pytest.approx(agreement.low))
    assert 0.85 < found.high < 0.86, "two reviewers may differ on up to 6% of the scans"


def test_correlation_of_the_estimates_shortens_the_interval() -> None:
    alone = correct_for_reviewers(share(0.74), share(0.81))
    related = correct_for_reviewers(share(0.74), share(0.81), correlation=0.3)
    assert isinstance(alone, Estimate) and isinstance(related, Estimate) and alone.value == related.value
    assert related.high - related.low < 0.9 * (alone.high - alone.low)
    agreed, repeated = np.array([1.0, 1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    assert correlation_of_estimates(agreed, repeated, 20) == pytest.approx(np.corrcoef(agreed, repeated)[0, 1] / 2)
    assert correlation_of_estimates(agreed, np.ones(5), 20) == 0 == correlation_of_estimates(agreed[:0], agreed[:0], 0)


def test_too_few_or_too_different_readings_give_a_reason() -> None:
    assert correct_for_reviewers("no scan", share(0.9)) == "no scan"
    few = correct_for_reviewers(share(0.8), "3 of 20 required patients or scans have a finding")
    assert few == "too few scans were read by two persons: 3 of 20 required patients or scans have a finding"
    unlike = correct_for_reviewers(share(0.8), share(0.52))
    assert unlike == "two reviewers may agree on less than half of the scans (from 47%)"
