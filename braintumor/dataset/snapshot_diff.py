"""Compare two snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from braintumor.dataset.snapshot import snapshot_head
from braintumor.db.database import transaction


@dataclass(frozen=True, kw_only=True)
class Change:
    """The number of images with the same change between two snapshots.

    Attributes:
        change: ``added``, ``removed``, ``relabeled`` or ``moved`` (to another split).
        split: split in the later snapshot. For removed images, split in the earlier snapshot.
        label_before: class in the earlier snapshot. ``None`` for added images.
        label_after: class in the later snapshot. ``None`` for removed images.
        count_image: number of images.
    """

    change: str
    split: str
    label_before: str | None
    label_after: str | None
    count_image: int


def snapshot_diff(engine: Engine, before: str, after: str) -> list[Change]:
    """Return the changes of images between two snapshots.

    Args:
        engine: the database.
        before: id of the earlier snapshot.
        after: id of the later snapshot.

    Raises:
        DatasetError: one of the snapshots does not exist.
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
