"""Tests of the estimate by how much the best of several models looks too good."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.evaluation.metrics.optimism import selection_optimism

IMAGES = 400
GROUPS = [str(i) for i in range(IMAGES)]


def models(count: int, *, shared: float, seed: int) -> np.ndarray:
    """Return the correct predictions of equal models, (K, N), with a true accuracy of 0.8.

    ``shared`` is the share of images that all models predict alike.
    """
    random = np.random.default_rng(seed)
    own, common = random.random((count, IMAGES)) < 0.8, random.random(IMAGES) < 0.8
    return np.where(random.random(IMAGES) < shared, common, own)


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_the_estimate_agrees_with_the_true_optimism(shared: float) -> None:
    draws = [models(20, shared=shared, seed=seed) for seed in range(60)]
    truth = np.mean([(each.mean(axis=1).max() - each.mean(axis=1).mean()) for each in draws])
    estimated = np.mean([selection_optimism(each, GROUPS) for each in draws])
    assert estimated == pytest.approx(truth, abs=0.004)


def test_more_models_make_the_best_more_optimistic() -> None:
    few, many = (selection_optimism(models(count, shared=0.5, seed=1), GROUPS) for count in (2, 40))
    assert 0 <= few < many


def test_identical_models_have_no_optimism() -> None:
    same = np.repeat(models(1, shared=0.0, seed=3), 5, axis=0)
    assert selection_optimism(same, GROUPS) == pytest.approx(0.0, abs=0.002)


def test_related_images_are_resampled_together() -> None:
    """Ten copies of each image carry no more evidence than one."""
    each = models(20, shared=0.0, seed=4)[:, :40]
    single = selection_optimism(each, GROUPS[:40])
    copies = selection_optimism(np.repeat(each, 10, axis=1), list(np.repeat(GROUPS[:40], 10)))
    assert copies == pytest.approx(single, abs=1e-9)
