"""Frames that are submitted before others were waited for: each asker gets its own answers, and its own failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend


@pytest.fixture
def engine(tiny_model_folder: Path) -> OpenVinoBackend:
    return OpenVinoBackend(tiny_model_folder / GRAPH)


def noise(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (count, 64, 64, 3), np.uint8)


def test_answers_are_those_of_who_asked_in_whatever_order_they_are_waited_for(engine: OpenVinoBackend) -> None:
    """More is submitted than is under way at once."""
    asked = [noise(count, seed) for seed, count in enumerate([3, 70, 8, 1, 33])]
    alone = [engine.run(frames)["probability"] for frames in asked]
    waiting = [engine.submit(frames) for frames in asked]
    for place in (4, 0, 2, 1, 3):
        np.testing.assert_allclose(waiting[place]()["probability"], alone[place], atol=1e-5)
    again = waiting[1]()["probability"]  # asked twice, the same
    np.testing.assert_allclose(again, alone[1], atol=1e-5)


def test_frames_may_change_once_they_are_submitted(engine: OpenVinoBackend) -> None:
    frames = noise(8, seed=0)
    expected = engine.run(frames)["probability"]
    waiting = engine.submit(frames)
    frames[:] = 0
    np.testing.assert_allclose(waiting()["probability"], expected, atol=1e-5)


def test_frames_that_the_graph_does_not_take_fail_and_leave_the_others_their_answers(engine: OpenVinoBackend) -> None:
    before, after = noise(8, seed=1), noise(8, seed=2)
    first = engine.submit(before)
    with pytest.raises(RuntimeError):
        engine.submit(np.zeros((1, 9, 9, 7), np.uint8))()
    second = engine.submit(after)
    np.testing.assert_allclose(second()["probability"], engine.run(after)["probability"], atol=1e-5)
    np.testing.assert_allclose(first()["probability"], engine.run(before)["probability"], atol=1e-5)


def test_a_request_that_fails_is_told_to_who_asked(engine: OpenVinoBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def start_async(self, _inputs: object) -> None: ...

        def wait(self) -> None:
            raise RuntimeError("out of memory")

    good = engine.submit(noise(8, seed=1))
    monkeypatch.setattr(engine, "_idle", [Failing()])
    bad = engine.submit(noise(8, seed=2))
    monkeypatch.setattr(engine, "_idle", [])
    other = engine.submit(noise(8, seed=3))
    assert len(other()["probability"]) == 8  # collects those before it
    with pytest.raises(RuntimeError, match="out of memory"):
        bad()
    assert len(good()["probability"]) == 8
