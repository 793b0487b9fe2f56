"""Record which images were delivered to a review page, so that no person decides on an image that was not shown."""

from __future__ import annotations

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.review.decisions import ReviewDecision
from braintumor.review.finding import Finding

NOT_SHOWN = (
    "The image of this frame was not delivered to this page. Without it only the decision 'unusable image' is saved. "
    "Reload the page until you see the image, then decide again."
)


def record_shown(engine: Engine, *, request_key: str, scan_id: int, frame_index: int, person: str) -> None:
    """Record that the image of a frame was delivered to the person's page. ``request_key`` identifies the page."""
    values = {"key": request_key, "person": person, "scan": scan_id, "frame": frame_index}
    with transaction(engine) as connection:
        connection.execute(text(_RECORD), values)


def may_review(engine: Engine, decision: ReviewDecision, *, person: str) -> bool:
    """Return whether the person may save the decision, because the image of the frame was delivered to the page.

    The finding ``unusable_image`` may be saved without an image.
    """
    if decision.finding is Finding.UNUSABLE_IMAGE:
        return True
    values = {"key": decision.request_key, "person": person, "scan": decision.scan_id, "frame": decision.frame_index}
    with transaction(engine) as connection:
        return bool(connection.scalar(text(_IS_SHOWN), values))


_RECORD = """
    insert into shown_image (request_key, reviewer, scan_id, frame_index)
    values (:key, :person, :scan, :frame)
    on conflict do nothing"""
_IS_SHOWN = """
    select exists (
        select from shown_image
        where request_key = :key and reviewer = :person and scan_id = :scan and frame_index = :frame)"""
