"""Write and retract reviews of frames, and read a frame as a reviewer sees it."""

from __future__ import annotations

import uuid

from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.review.decisions import ReviewDecision
from braintumor.review.finding import Finding
from braintumor.review.shown_frame import ShownFrame, read_frame
from tests.sql import change


def add_reviews(
    settings: Settings, scan_id: int, finding: str, *readers: str, purpose: str = "risk", blind: bool = False
) -> None:
    """Write a review by each of the readers for the first frame of a scan."""
    for reader in readers:
        change(
            settings,
            """
            insert into review (
                request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
            select :key, scan_id, frame_index, model_version_id, :reader, cast(:finding as review_finding),
                   cast(:purpose as review_purpose), :blind
            from prediction where scan_id = :scan order by frame_index limit 1""",
            key=uuid.uuid4().hex, scan=scan_id, reader=reader, finding=finding, purpose=purpose, blind=blind,
        )  # fmt: skip


def retract_review(settings: Settings, scan_id: int, reader: str) -> None:
    """Retract a reviewer's current reviews of a scan."""
    change(
        settings,
        "insert into review_retraction (review_id) "
        "select review_id from current_review where scan_id = :scan and reviewer = :reader",
        scan=scan_id,
        reader=reader,
    )


def given(scan_id: int, finding: Finding = Finding.GLIOMA, **values: object) -> ReviewDecision:
    known = {"request_key": uuid.uuid4().hex, "frame_index": 0, "model_version_id": 1, "finding": finding}
    return ReviewDecision(scan_id=scan_id, **(known | values))  # type: ignore[arg-type]


def read(engine: Engine, scan_id: int, person: str = "ann", *, frame: int = 0, is_reviewer: bool = True) -> ShownFrame:
    with transaction(engine) as connection:
        return read_frame(connection, scan_id=scan_id, frame_index=frame, person=person, is_reviewer=is_reviewer)
