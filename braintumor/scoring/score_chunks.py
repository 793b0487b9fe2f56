"""Every chunk of a run in one process, past what S3 withholds: a night's as well as a rescore's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from braintumor.errors import ObjectStoreUnreachableError, UnbalancedRunError


def score_chunks(
    chunk_numbers: Sequence[int],
    score: Callable[[int], object],
    *,
    load: Callable[[], object],
    on_chunk: Callable[[int, int], None],
) -> ObjectStoreUnreachableError | None:
    """Score chunk after chunk; one that S3 does not hand out whole stops no other. Returns the first such error.

    ``load`` gets the model before the first chunk: without it no chunk is tried. ``on_chunk`` is told how many of how
    many are done.
    """
    first: ObjectStoreUnreachableError | None = None
    try:
        if chunk_numbers:
            load()
    except ObjectStoreUnreachableError as error:
        return error
    for done, chunk_number in enumerate(chunk_numbers, start=1):
        try:
            score(chunk_number)
        except ObjectStoreUnreachableError as error:
            first = first or error
        on_chunk(done, len(chunk_numbers))
    return first


@contextmanager
def blamed_on(withheld: ObjectStoreUnreachableError | None) -> Iterator[None]:
    """Where a run does not balance, raise what was withheld, if anything was: it says more, and that trying helps."""
    try:
        yield
    except UnbalancedRunError as error:
        raise withheld or error from None
