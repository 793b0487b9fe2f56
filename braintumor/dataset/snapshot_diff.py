"""Compare two snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from braintumor.dataset.snapshot import snapshot_head
from braintumor.db.database import transaction


@dataclass(frozen=True, kw_only=True)
class Change:
    """A number of images with the same change: ``added``, ``removed``, ``relabeled`` or ``moved``."""

    change: str
    split: str
    label_before: str | None
    label_after: str | None
    count_image: int


def snapshot_diff(engine: Engine, before: str, after: str) -> list[Change]:
    """Compare two snapshots by id, image by image.

    Raises:
        DatasetError: a snapshot does not exist.
    """
    with transaction(engine) as connection:
        for snapshot_id in (before, after):
            snapshot_head(connection, snapshot_id)
        rows = connection.execute(
            text("""
            select change, split::text, label_before::text, label_after::text, count(*) as count_image
            from snapshot_difference(:before, :after)
            group by change, split, label_before, label_after
            order by change, split, label_before, label_after"""),
            {"before": before, "after": after},
        )
        return [Change(**row._mapping) for row in rows]
