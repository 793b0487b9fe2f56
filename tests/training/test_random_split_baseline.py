"""Test that only duplicate files inflate the accuracy of a random split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.keras_checks import run_check


@pytest.mark.soak
def test_duplicates_inflate_random_split_accuracy_on_noise(tmp_path: Path) -> None:
    single, duplicated = json.loads(run_check("random_split", tmp_path).splitlines()[-1])
    assert single < 0.45, "chance is 0.25 with four classes"
    assert duplicated > 0.9
