"""Save a person's answer at once and once, and take the last one back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ReviewError
from braintumor.review.finding import Finding
from braintumor.review.reading import is_blind

_MOST_SECONDS = 3600.0
"""Who is away longer does not read."""


@dataclass(frozen=True, kw_only=True)
class ReviewDecision:
    """What a person says of a frame.

    Attributes:
        request_key: made with the page, so that an answer that is sent twice is one row.
        model_version_id: whose answer stood when the page was made.
        session_id: the sitting; ``None`` outside one.
        seconds: from showing to answering.
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
    """An answer that is on record; ``is_blind``: what the model says may be looked at now."""

    review_id: int
    is_blind: bool


@dataclass(frozen=True, kw_only=True)
class RetractedReview:
    """The frame, and the sitting, of an answer that counts no more."""

    scan_id: int
    frame_index: int
    session_id: int | None


def save_review(engine: Engine, answer: ReviewDecision, *, person: str) -> SavedReview:
    """Put an answer on record. Why the frame was shown, and whether blind, is known here and not asked of the page.

    Raises:
        ReviewError: the key names another answer, the sitting is another person's, or there is no such answer of the
            model's.
    """
    seconds = None if answer.seconds is None else min(max(answer.seconds, 0.0), _MOST_SECONDS)
    values = {
        "key": answer.request_key,
        "scan": answer.scan_id,
        "frame": answer.frame_index,
        "model": answer.model_version_id,
        "finding": answer.finding.value,
        "session": answer.session_id,
        "seconds": seconds,
        "person": person,
    }
    with transaction(engine) as connection:
        known = connection.execute(text(_KNOWN), values).one_or_none()
        if known is None:
            _check(connection.scalar(text(_IS_POSSIBLE), values))
            hidden = is_blind(
                connection, scan_id=answer.scan_id, frame_index=answer.frame_index, person=person, is_reviewer=True
            )
            connection.execute(text(_INSERT), values | {"is_blind": hidden})
            known = connection.execute(text(_KNOWN), values).one()
    if not known.is_same:
        raise ReviewError("This page has saved another answer already. Load it again.")
    return SavedReview(review_id=known.review_id, is_blind=known.is_blind)


def retract_review(engine: Engine, *, person: str) -> RetractedReview | None:
    """Take the person's last answer back by a row of its own; ``None`` where there is none."""
    with transaction(engine) as connection:
        row = connection.execute(text(_TAKE_BACK), {"person": person}).one_or_none()
    if row is None:
        return None
    return RetractedReview(scan_id=row.scan_id, frame_index=row.frame_index, session_id=row.review_session_id)


def _check(is_possible: bool | None) -> None:
    if not is_possible:
        raise ReviewError("There is no such answer of a model, or no such sitting of yours. Go back to the worklist.")


_KNOWN = """
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
_INSERT = """
    insert into review (request_key, review_session_id, scan_id, frame_index, model_version_id, reviewer, finding,
                        purpose, is_blind, seconds)
    select
        :key, :session, :scan, :frame, :model, :person, cast(:finding as review_finding),
        case
            when exists (
                select from frame_consensus
                where frame_consensus.scan_id = scan.scan_id and frame_index = :frame and is_conflict
            ) and not exists (
                select from current_review
                where current_review.scan_id = scan.scan_id and frame_index = :frame and reviewer = :person
            ) then 'adjudication'
            else coalesce(
                (select purpose from review_session_item
                 where review_session_id = :session and scan_id = :scan and frame_index = :frame),
                case when scan.audit_probability is not null and :is_blind then 'audit' else 'risk' end::review_purpose)
        end,
        :is_blind,
        cast(:seconds as real)
    from scan
    where scan_id = :scan
    on conflict (request_key) do nothing"""
_TAKE_BACK = """
    with last as (
        select review_id, scan_id, frame_index, review_session_id
        from review
        where reviewer = :person and not exists (
            select from review_retraction where review_retraction.review_id = review.review_id)
        order by review_id desc
        limit 1
    ),
    retracted as (
        insert into review_retraction (review_id) select review_id from last
        on conflict do nothing
        returning review_id
    )
    select last.* from last join retracted using (review_id)"""
