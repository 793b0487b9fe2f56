"""Test that memory does not grow with the number of scans."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectStore, S3Uri
from tests.images import png_of

pytestmark = pytest.mark.soak


def peak_megabytes(settings: Settings, prefix: str, expected: int) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.scoring_memory", prefix, prefix],
        env={**os.environ, **settings.to_environment()},
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    scored, peak = map(int, done.stdout.split())
    assert scored == expected
    return peak


def test_memory_does_not_grow_with_ten_times_the_scans(settings: Settings) -> None:
    store, base = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    rng = np.random.default_rng(0)

    def put(name: str) -> None:
        store.write(base / name, png_of(rng.integers(0, 255, (400, 400), dtype=np.uint8)))

    names = [f"few/{n}.png" for n in range(100)] + [f"many/{n}.png" for n in range(1000)]
    assert len(list(store.concurrently(put, names))) == 1100
    few = peak_megabytes(settings, str(base / "few/"), 100)
    many = peak_megabytes(settings, str(base / "many/"), 1000)
    assert many < few * 1.2 + 50, f"{few} MB for 100 scans, {many} MB for 1000"
