"""The engine and the reading side by side: while a step is inferred, the next one is gathered."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def one_ahead(work: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
    """``map`` in a thread of its own, an item at a time and in order, while this thread makes the next item.

    So no more than two items are held at a time. What ``work`` or ``items`` raises is raised here. Close it where it is
    not read to its end: that waits for the item at work.
    """
    with ThreadPoolExecutor(1) as thread:
        running: Future[R] | None = None
        for item in items:
            before, running = running, thread.submit(work, item)
            if before is not None:
                yield before.result()
        if running is not None:
            yield running.result()
