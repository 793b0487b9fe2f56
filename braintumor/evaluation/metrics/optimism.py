"""Estimate by how much one test split overstates the accuracy of the best of several models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from braintumor.evaluation.metrics.significance import SEED

MINIMUM_GROUPS = 20
"""Smallest number of groups of related images for an estimate. With fewer groups callers make no estimate."""
_RESAMPLES = 2000


def selection_optimism(correct: NDArray[np.bool_], groups: Sequence[str]) -> float:
    """Return by how much the best model's measured accuracy is expected to exceed its true accuracy, 0 or more.

    The function draws groups of images with replacement, many times. Each draw selects the model with the highest
    accuracy on the drawn groups. The groups that were not drawn then measure the accuracy of the selected model. The
    result is the highest accuracy of a model on all images, minus the mean of the measured accuracies. Models that make
    the same errors are correlated, and the draws keep this correlation.

    Source: Tsamardinos, Greasidou and Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation", Machine Learning 2018 (the method BBC-CV).

    Args:
        correct: (K, N), whether each of K models predicts each of N images correctly.
        groups: the group of each image, in the same order. Related images are resampled together.
    """
    keys, group = np.unique(groups, return_inverse=True)
    count = len(keys)
    by_group = np.zeros((len(correct), count))
    np.add.at(by_group.T, group, correct.T)  # correct images of each group
    size = np.bincount(group, minlength=count)
    drawn = _draws(count)
    left_out = drawn == 0
    best = ((drawn @ by_group.T) / (drawn @ size)[:, None]).argmax(axis=1)
    measured = (left_out @ by_group.T)[np.arange(_RESAMPLES), best] / (left_out @ size)
    return max(0.0, float(correct.mean(axis=1).max() - measured.mean()))


@lru_cache(maxsize=1)
def _draws(count: int) -> NDArray[np.int64]:
    """Return how often each draw contains each of ``count`` groups, (R, G). The seed is fixed."""
    random = np.random.default_rng(SEED)
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
