"""Test the simulation of prediction sets on drawn probabilities."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from benchmarks.prediction_sets import SHIFTS, Pool, report
from braintumor.labels import CLASSES

PLAIN = next(iter(SHIFTS))


def drawn_pool(seed: int) -> Pool:
    """Draw 400 groups of 1 to 4 similar images. A shift moves the probabilities away from the true class."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(400), random.integers(1, 5, 400))
    labels = groups % len(CLASSES)
    logits = random.normal(size=(len(groups), len(CLASSES))) + random.normal(size=(400, len(CLASSES)))[groups]
    right = np.eye(len(CLASSES))[labels]
    return Pool(
        count_validation=len(labels) // 2,
        labels=labels,
        groups=groups,
        probability={PLAIN: softmax(logits + 3 * right, axis=1), "shifted": softmax(logits + right, axis=1)},
    )


def test_simulation_reports_coverage_and_its_fall_under_shift() -> None:
    rows = [line.split("|")[1:-1] for line in report([drawn_pool(0)], 20, np.random.default_rng(0)) if "|" in line]
    numbers = {row[0].strip(): [float(cell) for cell in row[1:]] for row in rows if row[-1].strip()[:2] in ("0.", "1.")}
    assert all(0.93 < share < 0.98 for share in numbers["sets, groups weigh the same"][:4])
    assert all(share < 0.9 for share in numbers["shifted"][:4])
    assert numbers["sets, groups weigh the same"][4] >= 1
    risk = numbers["confidence thresholds (before)"][-1]
    same = next(values for name, values in numbers.items() if name.startswith("sets at equal risk"))
    assert abs(same[-1] - risk) < 0.01
