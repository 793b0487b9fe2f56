"""How many readings are inferred together, and that one step is under way before the last one is waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from braintumor.imaging.prepared import one_ahead


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_each_item_comes_after_the_one_behind_it_was_made(count: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(count):
            made.append(number)
            yield number

    seen = [(item, list(made)) for item in one_ahead(items())]
    assert [item for item, _ in seen] == list(range(count))
    assert all(known == list(range(min(item + 2, count))) for item, known in seen)
