"""Plan a review session with a time budget, from the riskiest frames, the audit sample and a few repeated frames.

The audit sample is a random sample of scans. A repeated frame is one that the same person has reviewed before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ReviewError
from braintumor.labels import CLASSES
from braintumor.live_accuracy.pace import median_seconds
from braintumor.review.worklist import AUDIT, Filters, first_on_worklist

MAX_MINUTES = 480
_AUDIT_SHARE, _REPEAT_SHARE = 0.2, 0.1
_MIN_REPEAT_DAYS = 1
"""Smallest age in days of a review whose frame may be repeated, so that the reviewer does not remember the review."""


@dataclass(frozen=True, kw_only=True)
class ReviewSession:
    """Hold the progress of a review session.

    ``minutes`` is the time budget, ``seconds`` the time since the start. ``count_item`` is the number of frames, and
    ``count_reviewed`` the number of frames with a review.
    """

    session_id: int
    minutes: int
    count_item: int
    count_reviewed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SessionSummary:
    """Summarize the decisions of a session.

    ``findings`` counts the decisions by finding. The person named a class on ``count_class`` frames. ``differences``
    are those with another class than the predicted one, with their scan ID, frame index, finding and predicted class.
    ``median_seconds`` is ``None`` without a decision.
    """

    findings: Mapping[str, int]
    count_class: int
    differences: Sequence[Any]
    median_seconds: float | None


def start_session(engine: Engine, *, person: str, minutes: int) -> int:
    """Start a session with a time budget, store its frames in order, and return its ID.

    Raises ``ReviewError`` if ``minutes`` is out of range.
    """
    if not 1 <= minutes <= MAX_MINUTES:
        raise ReviewError(f"A session must have 1 to {MAX_MINUTES} minutes. Received: {minutes}. Correct it.")
    with transaction(engine) as connection:
        count = max(1, int(minutes * 60 / median_seconds(connection, person=person)))
        items = _mixed(connection, person, count)
        session_id: int = connection.execute(text(_START), {"person": person, "minutes": minutes}).scalar_one()
        for place, item in enumerate(items):
            connection.execute(text(_ADD), {"session": session_id, "place": place, **item})
    return session_id


def find_session(connection: Connection, session_id: int, *, person: str) -> ReviewSession:
    """Return the progress of the person's session. Raises ``ReviewError`` if there is no such session."""
    values = {"session": session_id, "person": person}
    row = connection.execute(statement("review/session_progress"), values).one_or_none()
    if row is None:
        raise ReviewError(f"There is no session {session_id} of yours. Start one on the worklist.")
    return ReviewSession(session_id=session_id, **row._mapping)


def find_open_session(connection: Connection, *, person: str) -> tuple[ReviewSession, tuple[int, int]] | None:
    """Return the person's newest session of the last day and its next frame, or ``None`` if no frame is left."""
    session_id = connection.scalar(text(_NEWEST), {"person": person})
    item = None if session_id is None else next_item(connection, session_id)
    return None if item is None else (find_session(connection, session_id, person=person), item)


def summarize_session(connection: Connection, session_id: int) -> SessionSummary:
    """Return the summary of a session. Retracted decisions do not count."""
    rows = connection.execute(statement("review/session_decisions"), {"session": session_id}).all()
    seconds = [row.seconds for row in rows if row.seconds is not None]
    named = [row for row in rows if row.finding in set(CLASSES)]
    return SessionSummary(
        findings=dict(Counter(row.finding for row in rows).most_common()),
        count_class=len(named),
        differences=[row for row in named if row.finding != row.predicted_class],
        median_seconds=median(seconds) if seconds else None,
    )


def next_item(
    connection: Connection, session_id: int, *, after: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Return (scan ID, frame index) of the next frame without a review, or ``None`` if there is no other such frame.

    The search starts behind the frame ``after``, and continues at the beginning of the session.
    """
    scan_id, frame_index = after or (None, None)
    values = {"session": session_id, "scan": scan_id, "frame": frame_index}
    row = connection.execute(statement("review/session_next"), values).one_or_none()
    return None if row is None else (row.scan_id, row.frame_index)


def previous_item(connection: Connection, session_id: int, *, before: tuple[int, int]) -> tuple[int, int] | None:
    """Return (scan ID, frame index) of the frame that precedes ``before`` in the session, reviewed or not.

    If ``before`` is the first frame of the session, return ``None``.
    """
    values = {"session": session_id, "scan": before[0], "frame": before[1]}
    row = connection.execute(statement("review/session_previous"), values).one_or_none()
    return None if row is None else (row.scan_id, row.frame_index)


def _mixed(connection: Connection, person: str, count: int) -> Sequence[dict[str, Any]]:
    """Return up to ``count`` frames for a session, the riskiest, audited and repeated frames spread evenly.

    If there are too few audited or repeated frames, more of the riskiest frames replace them.
    """
    share = {"audit": max(1, round(count * _AUDIT_SHARE)), "repeat": round(count * _REPEAT_SHARE)}
    older = {"person": person, "days": _MIN_REPEAT_DAYS, "limit": share["repeat"]}
    repeats = _items(connection.execute(statement("review/session_repeats"), older).all(), "repeat")
    audit = _items(first_on_worklist(connection, AUDIT, person=person, count=share["audit"]), "audit")
    left = max(0, count - len(audit) - len(repeats))
    risky = _items(first_on_worklist(connection, Filters(), person=person, count=left), "risk") if left else []
    placed = [
        ((number + 1) / (len(kind) + 1), order, item)
        for order, kind in enumerate((risky, audit, repeats))
        for number, item in enumerate(kind)
    ]
    return [item for _, _, item in sorted(placed, key=lambda each: each[:2])][:count]


def _items(rows: Sequence[Row[Any]], purpose: str) -> list[dict[str, Any]]:
    return [{"scan": row.scan_id, "frame": row.frame_index, "purpose": purpose} for row in rows]


_START = "insert into review_session (reviewer, minutes) values (:person, :minutes) returning review_session_id"
_ADD = """
    insert into review_session_item (review_session_id, place, scan_id, frame_index, purpose)
    values (:session, :place, :scan, :frame, cast(:purpose as review_purpose))"""
_NEWEST = """
    select max(review_session_id)
    from review_session
    where reviewer = :person and started_at > now() - interval '1 day'"""
