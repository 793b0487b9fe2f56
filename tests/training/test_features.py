"""Test how feature maps are stored."""

from __future__ import annotations

import numpy as np

from braintumor.training.features import to_float16


def test_values_beyond_float16_become_its_largest_number() -> None:
    stored = to_float16(np.array([1e9, -1e9, 0.5], np.float32))
    assert stored.dtype == np.float16 and stored.tolist() == [65504.0, -65504.0, 0.5]
