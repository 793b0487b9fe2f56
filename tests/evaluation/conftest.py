"""Made-up models and images of known quality."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from braintumor.evaluation.metrics import Evaluation, evaluate
from braintumor.evaluation.overlay import Sample
from braintumor.labels import CLASSES

Confusion = list[list[int]]


@pytest.fixture(scope="session")
def evaluation_of() -> Callable[..., Evaluation]:
    """Builds the evaluation of a given confusion matrix, each answer given with one confidence."""

    def build(confusion: Confusion, *, confidence: float = 0.91, split: str = "test") -> Evaluation:
        cells = [(t, p) for t in range(4) for p in range(4) for _ in range(confusion[t][p])]
        truth, called = (np.array(part) for part in zip(*cells, strict=True))
        probabilities = np.full((len(cells), 4), (1 - confidence) / 3)
        probabilities[np.arange(len(cells)), called] = confidence
        return evaluate(labels=truth, probabilities=probabilities, split=split)

    return build


@pytest.fixture(scope="session")
def good(evaluation_of: Callable[..., Evaluation]) -> Evaluation:
    """200 test images, accuracy 0.915, confident as it is right."""
    return evaluation_of([[45, 3, 1, 1], [2, 45, 2, 1], [1, 1, 47, 1], [1, 1, 2, 46]])


@pytest.fixture(scope="session")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Labels (120,) and probabilities (120, 4) of a middling model."""
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(4), 30)
    logits = random.normal(size=(120, 4))
    logits[np.arange(120), labels] += 2.0
    exponents = np.exp(logits)
    return labels, exponents / exponents.sum(axis=1, keepdims=True)


@pytest.fixture(scope="session")
def history() -> dict[str, list[float]]:
    """Four epochs, the third the best on validation."""
    return {
        "accuracy": [0.5, 0.7, 0.8, 0.9],
        "val_accuracy": [0.5, 0.65, 0.75, 0.74],
        "loss": [1.2, 0.8, 0.5, 0.3],
        "val_loss": [1.2, 0.9, 0.7, 0.8],
    }


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Five frames of noise, the last one wrong, the first one without an activation map."""
    random = np.random.default_rng(3)
    return [
        Sample(
            name=f"frame $_{i} <b>.png",
            frame=random.integers(0, 255, (64, 48, 3), dtype=np.uint8),
            truth=CLASSES[i % 4],
            predicted=CLASSES[i % 4 if i < 4 else 2],
            confidence=0.8,
            activation_map=random.normal(size=(7, 7)) if i else None,
        )
        for i in range(5)
    ]
