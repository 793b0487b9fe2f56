"""The engine works on a step while the next is gathered, and no further ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from braintumor.serving.pipeline import one_ahead


def test_results_come_in_order_and_the_next_item_is_made_while_one_is_at_work() -> None:
    is_next_made = {number: threading.Event() for number in range(6)}
    held: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            held.append(number)
            is_next_made[number].set()
            yield number
        is_next_made[5].set()

    def work(number: int) -> int:
        assert is_next_made[number + 1].wait(30), "nobody makes the next item meanwhile"
        assert len(held) <= number + 2 and threading.current_thread() is not threading.main_thread()
        return number * 10

    assert list(one_ahead(work, items())) == [0, 10, 20, 30, 40]


def test_nothing_to_do_is_nothing_done() -> None:
    assert list(one_ahead(lambda item: item, [])) == []


@pytest.mark.parametrize("place", ["work", "items"])
def test_a_failure_is_raised_where_it_is_read_and_ends_the_thread(place: str) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        if place == "items":
            raise ValueError("items")

    def work(number: int) -> int:
        if place == "work" and number == 1:
            raise ValueError("work")
        return number

    before = threading.active_count()
    found = []
    with pytest.raises(ValueError, match=place):
        for result in one_ahead(work, items()):
            found.append(result)
    assert found == ([0] if place == "work" else [0, 1])
    assert threading.active_count() == before


def test_closing_waits_for_the_item_at_work() -> None:
    done: list[int] = []
    before = threading.active_count()
    with closing(one_ahead(done.append, range(10))) as results:
        next(results)
    assert done == [0, 1], "the one that was begun is ended, and no other begun"
    assert threading.active_count() == before
