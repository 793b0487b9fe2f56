"""Save each decision of a reviewer exactly once, and retract a reviewer's last decision."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ReviewError
from braintumor.review.finding import Finding
from braintumor.review.shown_frame import is_blind

_MAX_SECONDS = 3600.0
"""Upper bound of the recorded time in seconds, because a longer time is a pause."""


@dataclass(frozen=True, kw_only=True)
class ReviewDecision:
    """Hold a reviewer's decision about a frame.

    ``request_key`` is created with the page, so that a decision that is sent twice is stored once. ``model_version_id``
    is the model whose prediction was current when the page was created. ``seconds`` is the time from showing the page
    to the decision. ``session_id`` is ``None`` outside a review session.
    """

    request_key: str
    scan_id: int
    frame_index: int
    model_version_id: int
    finding: Finding
    session_id: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class SavedReview:
    """Identify a saved review. If ``is_blind`` is true, the page hid the prediction before, and may show it now."""

    review_id: int
    is_blind: bool


@dataclass(frozen=True, kw_only=True)
class RetractedReview:
    """Identify the frame and the review session of a retracted review.

    If ``is_replaced`` is true, the file of the frame was overwritten meanwhile, and the frame has no page.
    """

    scan_id: int
    frame_index: int
    session_id: int | None
    is_replaced: bool


def save_review(engine: Engine, decision: ReviewDecision, *, person: str) -> SavedReview:
    """Save a reviewer's decision, and return the saved review.

    The function finds in Postgres for which purpose the frame was reviewed and whether its prediction was hidden.

    Raises:
        ReviewError: the ``request_key`` belongs to another decision, the session belongs to another person, or there is
            no such prediction.
    """
    seconds = None if decision.seconds is None else min(max(decision.seconds, 0.0), _MAX_SECONDS)
    values = {
        "key": decision.request_key,
        "scan": decision.scan_id,
        "frame": decision.frame_index,
        "model": decision.model_version_id,
        "finding": decision.finding.value,
        "session": decision.session_id,
        "seconds": seconds,
        "person": person,
    }
    with transaction(engine) as connection:
        saved = connection.execute(text(_SAVED), values).one_or_none()
        if saved is None:
            if not connection.scalar(text(_IS_POSSIBLE), values):
                raise ReviewError("There is no such prediction or no such session of yours. Go back to the worklist.")
            hidden = is_blind(
                connection, scan_id=decision.scan_id, frame_index=decision.frame_index, person=person, is_reviewer=True
            )
            connection.execute(statement("review/save_review"), values | {"is_blind": hidden})
            saved = connection.execute(text(_SAVED), values).one()
    if not saved.is_same:
        raise ReviewError("This page has saved another decision already. Load it again.")
    return SavedReview(review_id=saved.review_id, is_blind=saved.is_blind)


def retract_review(engine: Engine, *, person: str) -> RetractedReview | None:
    """Retract the person's last review, and return its frame and session, or ``None`` if there is no review.

    The review stays in Postgres. A new row marks it as retracted.
    """
    with transaction(engine) as connection:
        row = connection.execute(statement("review/retract_last_review"), {"person": person}).one_or_none()
    if row is None:
        return None
    return RetractedReview(
        scan_id=row.scan_id,
        frame_index=row.frame_index,
        session_id=row.review_session_id,
        is_replaced=row.is_replaced,
    )


_SAVED = """
    select
        review_id,
        is_blind,
        (scan_id, frame_index, reviewer, finding::text) = (:scan, :frame, :person, :finding) as is_same
    from review
    where request_key = :key"""
_IS_POSSIBLE = """
    select exists (
        select from prediction where scan_id = :scan and frame_index = :frame and model_version_id = :model
    ) and (
        cast(:session as bigint) is null
        or exists (select from review_session where review_session_id = :session and reviewer = :person)
    )"""
