"""Test the temperature and the thresholds that are fitted on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braintumor.labels import CLASSES
from braintumor.serving.artifact import REFERENCE
from braintumor.serving.out_of_distribution import distances, normalized, read_reference
from braintumor.training.calibration import Thresholds, fit_temperature, fit_thresholds

PREDICTIONS = 200
"""Number of predictions per class."""


def fitted(folder: Path) -> Thresholds:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), PREDICTIONS)
    return fit_thresholds(
        folder,
        reference=random.normal(size=(30, 8)).astype(np.float32) * 5,
        embeddings=random.normal(size=(len(labels), 8)).astype(np.float32),
        probability=np.eye(len(CLASSES), dtype=np.float32)[labels],
        labels=labels,
        groups=[str(image) for image in range(len(labels))],
    )


def test_distance_threshold_flags_under_1_percent_of_validation(tmp_path: Path) -> None:
    threshold = fitted(tmp_path).out_of_distribution_above
    random = np.random.default_rng(0)
    reference = normalized(random.normal(size=(30, 8)).astype(np.float32) * 5)
    np.testing.assert_allclose(read_reference(tmp_path / REFERENCE), reference, atol=1e-6)
    scores = distances(random.normal(size=(4 * PREDICTIONS, 8)).astype(np.float32), reference)
    assert 1 <= (scores > threshold).sum() <= 0.01 * len(scores)


def test_fit_temperature_recovers_the_scale_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, (20_000, 4))
    gumbel = rng.gumbel(size=true_logits.shape)
    labels = (true_logits + gumbel).argmax(axis=1)
    assert fit_temperature((true_logits * 3).astype(np.float32), labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature((true_logits / 2).astype(np.float32), labels) == pytest.approx(0.5, rel=0.05)
