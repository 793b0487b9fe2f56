"""Write and retract reviews of frames."""

from __future__ import annotations

import uuid

from braintumor.config.settings import Settings
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
