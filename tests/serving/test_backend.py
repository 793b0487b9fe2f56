"""Test the asynchronous backend: each caller gets its own results and its own errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend


@pytest.fixture
def backend(tiny_model_folder: Path) -> OpenVinoBackend:
    return OpenVinoBackend(tiny_model_folder / GRAPH)


def noise(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (count, 64, 64, 3), np.uint8)


def test_results_match_frames_in_any_order_of_waiting(backend: OpenVinoBackend) -> None:
    """Submit more frames than can be in progress at once."""
    batches = [noise(count, seed) for seed, count in enumerate([3, 70, 8, 1, 33])]
    alone = [backend.run(frames)["probability"] for frames in batches]
    waiting = [backend.submit(frames) for frames in batches]
    for place in (4, 0, 2, 1, 3):
        np.testing.assert_allclose(waiting[place]()["probability"], alone[place], atol=1e-5)
    again = waiting[1]()["probability"]  # because waiting twice must return the same
    np.testing.assert_allclose(again, alone[1], atol=1e-5)


def test_frames_can_change_after_submit(backend: OpenVinoBackend) -> None:
    frames = noise(8, seed=0)
    expected = backend.run(frames)["probability"]
    waiting = backend.submit(frames)
    frames[:] = 0
    np.testing.assert_allclose(waiting()["probability"], expected, atol=1e-5)


def test_invalid_frames_fail_and_other_requests_succeed(backend: OpenVinoBackend) -> None:
    before, after = noise(8, seed=1), noise(8, seed=2)
    first = backend.submit(before)
    with pytest.raises(RuntimeError):
        backend.submit(np.zeros((1, 9, 9, 7), np.uint8))()
    second = backend.submit(after)
    np.testing.assert_allclose(second()["probability"], backend.run(after)["probability"], atol=1e-5)
    np.testing.assert_allclose(first()["probability"], backend.run(before)["probability"], atol=1e-5)


def test_failed_request_raises_only_for_its_caller(backend: OpenVinoBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def start_async(self, _inputs: object) -> None: ...

        def wait(self) -> None:
            raise RuntimeError("out of memory")

    good = backend.submit(noise(8, seed=1))
    monkeypatch.setattr(backend, "_idle", [Failing()])
    bad = backend.submit(noise(8, seed=2))
    monkeypatch.setattr(backend, "_idle", [])
    other = backend.submit(noise(8, seed=3))
    assert len(other()["probability"]) == 8  # because waiting collects earlier requests too
    with pytest.raises(RuntimeError, match="out of memory"):
        bad()
    assert len(good()["probability"]) == 8
