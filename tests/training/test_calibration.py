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


def fitted(folder: Path, error_shares: tuple[float, ...], *, predictions: int = PREDICTIONS) -> Thresholds:
    """Fit on confidences of 0.4 to 1 per class. These shares of the lowest confidences are wrong."""
    confidence = np.linspace(0.4, 1 - 1e-6, predictions)
    probability = np.concatenate([_rows(position, confidence) for position in range(len(CLASSES))])
    wrong = [np.arange(predictions) < share * predictions for share in error_shares]
    labels = np.concatenate([np.where(w, (i + 1) % len(CLASSES), i) for i, w in enumerate(wrong)])
    random = np.random.default_rng(0)
    return fit_thresholds(
        folder,
        reference=random.normal(size=(30, 8)).astype(np.float32) * 5,
        embeddings=random.normal(size=(len(labels), 8)).astype(np.float32),
        logits=(np.log(probability) * 3).astype(np.float32),
        temperature=3.0,
        labels=labels,
    )


def _rows(position: int, confidence: np.ndarray) -> np.ndarray:
    rows = np.repeat((1 - confidence)[:, None] / (len(CLASSES) - 1), len(CLASSES), axis=1)
    rows[:, position] = confidence
    return rows


def test_confidence_threshold_reaches_target_precision_per_class(tmp_path: Path) -> None:
    thresholds = fitted(tmp_path, (0.0, 0.5, 0.7, 1.0)).low_confidence_below
    assert list(thresholds) == ["glioma", "meningioma", "normal", "pituitary"]
    assert thresholds["glioma"] == 0.60  # never wrong, so the lower bound
    # the half below 0.70 is wrong, and 5% above the threshold can be wrong
    assert thresholds["meningioma"] == pytest.approx(0.70 - 0.3 * 0.05 / 0.95, abs=0.01)
    assert thresholds["meningioma"] < thresholds["normal"] < 0.83
    assert thresholds["pituitary"] == 0.95  # never right, so the upper bound


def test_threshold_of_few_predictions_is_the_lower_bound(tmp_path: Path) -> None:
    assert set(fitted(tmp_path, (1.0, 0.0, 1.0, 0.5), predictions=10).low_confidence_below.values()) == {0.60}


def test_distance_threshold_flags_under_1_percent_of_validation(tmp_path: Path) -> None:
    threshold = fitted(tmp_path, (0, 0, 0, 0)).out_of_distribution_above
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
