"""Tests of the accuracy estimated from reviewed scans, and of its monitor."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.live_accuracy.estimate import (
    MINIMUM_CLUSTERS,
    Confidences,
    Estimate,
    Floats,
    ReviewedScans,
    estimate_accuracy,
)
from braintumor.live_accuracy.monitor import ALARM, Answer, drop_evidence, monitor_wealth


def scans(correct: Floats, *, probability: Floats | None = None, clusters: list[str] | None = None) -> ReviewedScans:
    return ReviewedScans(
        correct=correct,
        probability=np.full(len(correct), 0.02) if probability is None else probability,
        clusters=clusters or [str(i) for i in range(len(correct))],
        confidence=np.linspace(0.5, 1, len(correct)),
    )


def confidences(values: Floats) -> Confidences:
    return Confidences(count=len(values), mean=float(values.mean()), variance=float(values.var()))


def assessed(reviewed: ReviewedScans, all_confidences: Floats | None = None) -> Estimate:
    estimate = estimate_accuracy(reviewed, None if all_confidences is None else confidences(all_confidences))
    assert isinstance(estimate, Estimate)
    return estimate


def test_equal_weights_give_the_share_of_correct_predictions() -> None:
    estimate = assessed(scans(np.repeat([1.0, 0.0], [80, 20])))
    assert estimate.value == pytest.approx(0.8)
    assert (estimate.count, estimate.count_cluster) == (100, 100)
    assert 0.70 < estimate.low < 0.74 and 0.86 < estimate.high < 0.88


def test_scans_with_a_rare_selection_weigh_more() -> None:
    """All flagged scans are read and half are wrong. Of the others 2% are read, and all are right."""
    correct = np.concatenate([np.tile([1.0, 0.0], 50), np.ones(50)])
    probability = np.repeat([1.0, 0.02], [100, 50])
    estimate = assessed(scans(correct, probability=probability))
    assert estimate.value == pytest.approx((50 + 50 * 50) / (100 + 50 * 50))


def test_related_scans_widen_the_interval() -> None:
    correct = np.repeat(np.repeat([1.0, 0.0], [40, 10]), 4)
    alone = assessed(scans(correct))
    related = assessed(scans(correct, clusters=[str(i // 4) for i in range(200)]))
    assert related.value == alone.value
    assert related.high - related.low > 1.7 * (alone.high - alone.low)


def test_only_correct_predictions_still_give_an_interval() -> None:
    estimate = assessed(scans(np.ones(50)))
    assert estimate.high == 1.0 and 0.9 < estimate.low < 0.95


def test_too_few_reviewed_patients_are_not_assessed() -> None:
    few = scans(np.ones(40), clusters=[str(i % (MINIMUM_CLUSTERS - 1)) for i in range(40)])
    assert estimate_accuracy(few) == "19 of 20 required patients or scans have a finding"


@pytest.mark.parametrize("shift", [0.0, 0.08])
def test_intervals_cover_and_confidences_shorten_them(shift: float) -> None:
    random = np.random.default_rng(1)
    covered, widths = [], []
    for _ in range(200):
        confidence = np.clip(0.25 + 0.75 * random.beta(6, 0.8, size=4000), 0.25, 1)
        chance = np.clip(confidence - shift, 0, 1)
        correct = (random.random(4000) < chance).astype(float)
        probability = np.where(confidence < 0.6, 0.5, 0.05)
        read = random.random(4000) < probability
        reviewed = ReviewedScans(
            correct=correct[read],
            probability=probability[read],
            clusters=[str(i) for i in np.flatnonzero(read)],
            confidence=confidence[read],
        )
        both = assessed(reviewed), assessed(reviewed, confidence)
        covered.append([each.low <= chance.mean() <= each.high for each in both])
        widths.append([each.high - each.low for each in both])
    assert (np.mean(covered, axis=0) >= 0.91).all()
    assert np.mean(widths, axis=0)[1] < np.mean(widths, axis=0)[0]


def test_the_monitor_rarely_alarms_at_the_target() -> None:
    random = np.random.default_rng(2)
    wealth = monitor_wealth((random.random((2000, 1000)) < 0.9).astype(float), target=0.9)
    assert (wealth.max(axis=1) >= 20).mean() <= 0.05


def test_the_monitor_notices_a_drop_of_ten_points() -> None:
    random = np.random.default_rng(3)
    wealth = monitor_wealth((random.random((500, 400)) < 0.8).astype(float), target=0.9)
    assert (wealth.max(axis=1) >= 20).mean() > 0.95


def test_the_monitor_starts_again_at_another_model_after_an_alarm() -> None:
    def of(model: int, *, right: int, wrong: int) -> list[Answer]:
        agreed = [False] * wrong + [True] * right
        return [Answer(model_version_id=model, is_agreed=each, target=0.9) for each in agreed]

    bad = of(1, right=20, wrong=20)
    assert drop_evidence([], 1) == 1
    assert drop_evidence(bad, 1) >= ALARM, "an alarm stays, also after right predictions"
    assert drop_evidence(bad, 2) == 1
    assert 1 < drop_evidence(bad + of(2, right=10, wrong=2), 2) < ALARM
    calm = of(1, right=9, wrong=1)
    assert drop_evidence(calm + of(2, right=0, wrong=3), 2) == drop_evidence(calm + of(1, right=0, wrong=3), 1)
