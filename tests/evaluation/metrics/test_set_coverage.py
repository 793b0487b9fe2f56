"""Test the coverage of prediction sets on test images."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS
from braintumor.evaluation.metrics.set_coverage import set_coverage


def test_coverage_counts_each_group_once() -> None:
    labels = np.zeros(MINIMUM_GROUPS + 99, np.int64)
    inside = np.zeros((len(labels), 4), bool)
    inside[100:, :2] = True  # the 100 images of the first group have an empty set
    glioma, *_ = set_coverage(inside, labels, ["large"] * 100 + [str(image) for image in range(MINIMUM_GROUPS - 1)])
    assert glioma.share == pytest.approx(0.95) and glioma.count_group == MINIMUM_GROUPS
    assert glioma.mean_size == pytest.approx(1.9) and glioma.share_one == 0


def test_coverage_of_few_groups_is_not_assessed() -> None:
    labels = np.repeat(np.arange(4), [MINIMUM_GROUPS, MINIMUM_GROUPS - 1, MINIMUM_GROUPS, MINIMUM_GROUPS])
    inside = np.eye(4, dtype=bool)[labels]
    inside[0] = False
    glioma, meningioma, *_ = set_coverage(inside, labels, [str(image) for image in range(len(labels))])
    assert glioma.interval is not None and glioma.share == pytest.approx(0.95)
    assert glioma.interval[0] == pytest.approx(0.764, abs=0.001)
    assert meningioma.count_group == MINIMUM_GROUPS - 1
    assert meningioma.interval is None and meningioma.share is None
