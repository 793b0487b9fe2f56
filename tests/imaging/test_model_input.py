"""Test the size of inference steps, and that the next item is computed before the current one is used."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from braintumor.imaging.model_input import PreparedScan, one_ahead, take_step


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_one_ahead_yields_items_one_step_late(count: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(count):
            made.append(number)
            yield number

    seen = [(item, list(made)) for item in one_ahead(items())]
    assert [item for item, _ in seen] == list(range(count))
    assert all(known == list(range(min(item + 2, count))) for item, known in seen)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_one_ahead_yields_earlier_items_before_an_error(error: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise error

    seen: list[int] = []
    with pytest.raises(error):
        for item in one_ahead(items()):
            seen.append(item)
    assert seen == [0, 1, 2]


def scan(count_frame: int) -> PreparedScan:
    pixels = np.zeros((count_frame, 1, 1, 3), np.uint8)
    return PreparedScan(pixels=pixels, indexes=tuple(range(count_frame)), is_volume=count_frame > 1)


@pytest.mark.parametrize(
    ("frames", "steps"),
    [
        ([1] * 100, [32, 32, 32, 4]),
        ([None] * 33, [32, 1]),
        ([60, 60, 60, None], [2, 2]),
        ([63, None, 1, 1], [3, 1]),
        ([64, 64], [1, 1]),
    ],
)
def test_step_ends_with_32_scans_or_at_64_frames(frames: list[int | None], steps: list[int]) -> None:
    readings = iter([None if count is None else scan(count) for count in frames])
    assert [len(take_step(readings, lambda reading: reading)) for _ in steps] == steps
    assert take_step(readings, lambda reading: reading) == []


def test_step_ends_after_its_time_limit() -> None:
    def readings() -> Iterator[PreparedScan]:
        for number in range(6):
            time.sleep(0.2 if number in {1, 4} else 0)
            yield scan(1)

    slow = readings()
    assert [len(take_step(slow, lambda reading: reading, seconds=0.1)) for _ in range(4)] == [2, 3, 1, 0]
