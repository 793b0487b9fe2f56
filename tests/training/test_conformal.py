"""Test the fit of prediction sets: their coverage in new groups, and the number of groups that they need."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from braintumor.evaluation.metrics.set_coverage import set_coverage
from braintumor.labels import CLASSES
from braintumor.training.conformal import fit_sets

Drawn = tuple[NDArray[np.float64], NDArray[np.int64], list[str]]


def draw(random: np.random.Generator, *, count_group: int = 160) -> Drawn:
    """Draw groups of 1 to 30 images of one class. Images of one group are similar, and large groups are harder."""
    sizes = random.integers(1, 31, count_group)
    of_group = np.repeat(np.arange(count_group), sizes)
    labels = of_group % len(CLASSES)
    ease = 2.5 - sizes / 15 + random.normal(size=count_group)
    logits = random.normal(scale=0.5, size=(len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += ease[of_group]
    return softmax(logits, axis=1), labels, [str(group) for group in of_group]


def test_sets_cover_each_class_in_new_groups() -> None:
    random = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        thresholds = fit_sets(*draw(random))
        assert thresholds is not None
        probability, labels, groups = draw(random)
        shares.append([each.share for each in set_coverage(thresholds.contains(probability), labels, groups)])
    mean = np.mean(shares, axis=0)
    assert (mean >= 0.945).all() and (mean <= 0.98).all(), mean


def test_threshold_weighs_groups_equally() -> None:
    """A group of 100 hard images is one of 40, so it may be left out. As 100 of 139 images, it could not be."""
    hard, easy = np.full((100, 4), 0.25), np.tile([0.91, 0.03, 0.03, 0.03], (39, 1))
    others = np.repeat(np.eye(4)[1:], 40, axis=0)
    probability = np.concatenate([hard, easy, others])
    labels = np.concatenate([np.zeros(139, np.int64), np.repeat([1, 2, 3], 40)])
    groups = ["hard"] * 100 + [f"easy {number}" for number in range(39 + 120)]
    thresholds = fit_sets(probability, labels, groups)
    assert thresholds is not None
    assert thresholds.lowest_probability == {"glioma": 0.91, "meningioma": 0.95, "normal": 0.95, "pituitary": 0.95}
    assert thresholds.count_group == dict.fromkeys(CLASSES, 40)


@pytest.mark.parametrize(("count", "guaranteed"), [(1, 0.5), (9, 0.9), (18, 18 / 19), (19, 0.95), (60, 0.95)])
def test_few_groups_guarantee_less_than_the_target(count: int, guaranteed: float) -> None:
    labels = np.concatenate([np.repeat([0, 1, 2], 30), np.full(count, 3)])
    probability = np.full((len(labels), 4), 0.2)
    probability[np.arange(len(labels)), labels] = np.linspace(0.4, 0.8, len(labels))
    thresholds = fit_sets(probability, labels, [str(image) for image in range(len(labels))])
    assert thresholds is not None and thresholds.guaranteed("pituitary") == pytest.approx(guaranteed)
    is_lowest = thresholds.lowest_probability["pituitary"] == probability[90, 3]
    assert is_lowest == (count < 39), "with 39 groups, the lowest one may be left out"
    assert fit_sets(probability[:90], labels[:90], [""] * 90) is None
