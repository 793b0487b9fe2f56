"""Measure how long a review takes, from the times that the review page stores."""

from __future__ import annotations

from sqlalchemy import Connection, text

_DEFAULT_SECONDS = 20.0
"""Seconds of a review, until enough reviews are timed."""
_COUNT_OF_PERSON = 100
"""Number of a person's newest reviews that give the pace, because a person becomes faster."""


def median_seconds(connection: Connection, *, person: str | None = None) -> float:
    """Return the median time of a review in seconds, or 20 if fewer than 20 reviews are timed.

    The reviews are the newest 100 of ``person``. Without ``person`` they are those of all reviewers.
    """
    values = {"person": person, "count": None if person is None else _COUNT_OF_PERSON}
    return float(connection.scalar(text(_PACE), values) or _DEFAULT_SECONDS)


_PACE = """
    select percentile_cont(0.5) within group (order by seconds)
    from (
        select seconds from current_review
        where seconds > 0 and (cast(:person as text) is null or reviewer = :person)
        order by review_id desc limit :count
    ) as timed
    having count(*) >= 20"""
