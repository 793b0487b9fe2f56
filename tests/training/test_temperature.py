from __future__ import annotations

import numpy as np
import pytest

from braintumor.training.temperature import fit_temperature


def test_the_temperature_that_made_the_labels_is_found_again() -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, (20_000, 4))
    gumbel = rng.gumbel(size=true_logits.shape)
    labels = (true_logits + gumbel).argmax(axis=1)
    assert fit_temperature((true_logits * 3).astype(np.float32), labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature((true_logits / 2).astype(np.float32), labels) == pytest.approx(0.5, rel=0.05)
