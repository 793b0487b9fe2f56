"""A snapshot: an immutable, content-addressed list of labelled images with their split.

Images with the same pixels form a group. A group enters once, whatever the number of its copies, so that no image is
in two splits; a group whose copies carry different labels does not enter at all, and is named.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

import pandas as pd
from sqlalchemy import Connection, Engine, text

from braintumor import database
from braintumor.database import copy_rows, transaction
from braintumor.dataset.folder import require_every_class
from braintumor.dataset.split import Split, assign
from braintumor.errors import DatasetError
from braintumor.imaging.frames import decode
from braintumor.imaging.rejection import Rejection
from braintumor.labels import CLASSES, TumorClass, parse_class
from braintumor.objectstore import ObjectEntry, ObjectStore, S3Uri
from braintumor.settings import Settings

MINIMUM_PER_CLASS = 10
"""Fewer distinct images of a class than this leave a split without any: 15% of 10 is 1.5."""


@dataclass(frozen=True, kw_only=True)
class SnapshotImage:
    """One image of a snapshot. ``group_key`` is the sha256 of its decoded grey pixels."""

    image_sha256: str
    group_key: str
    label: TumorClass
    split: Split
    image_uri: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An image that could not enter a snapshot, and why."""

    image_uri: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The images of one training, in a fixed order."""

    snapshot_id: str
    source_uri: str
    images: tuple[SnapshotImage, ...]
    count_copy: int
    left_out: tuple[LeftOut, ...]

    def of_split(self, split: Split) -> list[SnapshotImage]:
        """The images of one split, in snapshot order."""
        return [image for image in self.images if image.split is split]

    def to_frame(self) -> pd.DataFrame:
        """One row per image."""
        return pd.DataFrame([asdict(image) for image in self.images])

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and class."""
        held = Counter((image.split, image.label) for image in self.images)
        return {split.value: {label.value: held[split, label] for label in CLASSES} for split in Split}


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    image_sha256: str
    group_key: str
    label: TumorClass
    image_uri: str


def take_snapshot(
    engine: Engine, store: ObjectStore, source: S3Uri, *, on_read: Callable[[int], None] = lambda _: None
) -> Snapshot:
    """Read every labelled image under ``source``, group, split and record them; the same images give the same id.

    Raises:
        DatasetError: a class is missing or has fewer than ``MINIMUM_PER_CLASS`` distinct images.
    """
    candidates, left_out = _read_all(store, source, on_read)
    chosen, conflicts = _one_per_group(candidates)
    _require_enough(chosen, source)
    with transaction(engine) as connection:
        connection.execute(text("lock table split_assignment in share row exclusive mode"))
        splits = assign({c.group_key: c.label for c in chosen}, _known_splits(connection))
        snapshot = _build(source, chosen, splits, left_out + conflicts, count_copy=len(candidates) - len(chosen))
        _record(connection, snapshot)
    return snapshot


def snapshot_of(settings: Settings, prefix: str | None = None) -> Snapshot:
    """Take a snapshot of an S3 prefix, by default the one of the settings."""
    source = S3Uri.parse_prefix(prefix or settings.require("dataset_uri"))
    return take_snapshot(database.connect(settings), ObjectStore.connect(settings), source)


def load_snapshot(engine: Engine, snapshot_id: str) -> Snapshot:
    """Read a snapshot back.

    Raises:
        DatasetError: there is none of that id.
    """
    with transaction(engine) as connection:
        head = connection.execute(
            text("select source_uri, count_copy, left_out from snapshot where snapshot_id = :id"), {"id": snapshot_id}
        ).one_or_none()
        if head is None:
            raise DatasetError(f"There is no snapshot {snapshot_id!r}. Take one first: `braintumor dataset snapshot`.")
        rows = connection.execute(
            text("""
            select image_sha256, group_key, label::text, split::text, image_uri
            from snapshot_image where snapshot_id = :id order by image_sha256"""),
            {"id": snapshot_id},
        ).all()
    return Snapshot(
        snapshot_id=snapshot_id,
        source_uri=head.source_uri,
        images=tuple(
            SnapshotImage(
                image_sha256=row.image_sha256,
                group_key=row.group_key,
                label=TumorClass(row.label),
                split=Split(row.split),
                image_uri=row.image_uri,
            )
            for row in rows
        ),
        count_copy=head.count_copy,
        left_out=tuple(LeftOut(**item) for item in head.left_out),
    )


def _read_all(
    store: ObjectStore, source: S3Uri, on_read: Callable[[int], None]
) -> tuple[list[_Candidate], list[LeftOut]]:
    candidates: list[_Candidate] = []
    left_out: list[LeftOut] = []
    for item in store.concurrently(lambda entry: _read_one(store, source, entry), store.list(source)):
        (candidates if isinstance(item, _Candidate) else left_out).append(item)  # type: ignore[arg-type]
        on_read(1)
    return candidates, left_out


def _read_one(store: ObjectStore, source: S3Uri, entry: ObjectEntry) -> _Candidate | LeftOut:
    uri = S3Uri(bucket=entry.bucket, key=entry.key)
    folder, _, _ = entry.key.removeprefix(source.key).partition("/")
    try:
        label = parse_class(folder)
    except DatasetError:
        return LeftOut(image_uri=str(uri), reason="not in a class folder")
    data = store.read(uri, etag=entry.etag)
    decoded = decode(data)
    if isinstance(decoded, Rejection):
        return LeftOut(image_uri=str(uri), reason=f"{decoded.reason}: {decoded.detail}")
    return _Candidate(
        image_sha256=sha256(data).hexdigest(), group_key=decoded.pixel_sha256, label=label, image_uri=str(uri)
    )


def _one_per_group(candidates: Iterable[_Candidate]) -> tuple[list[_Candidate], list[LeftOut]]:
    groups: defaultdict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.group_key].append(candidate)
    chosen: list[_Candidate] = []
    conflicts: list[LeftOut] = []
    for members in groups.values():
        labels = sorted({member.label for member in members})
        if len(labels) == 1:
            chosen.append(min(members, key=lambda member: (member.image_sha256, member.image_uri)))
        else:
            reason = f"identical images are labelled {' and '.join(labels)}"
            conflicts += [LeftOut(image_uri=member.image_uri, reason=reason) for member in members]
    return chosen, conflicts


def _require_enough(chosen: list[_Candidate], source: S3Uri) -> None:
    counts = Counter(candidate.label for candidate in chosen)
    require_every_class(counts, where=str(source))
    short = {label.value: counts[label] for label in CLASSES if counts[label] < MINIMUM_PER_CLASS}
    if short:
        raise DatasetError(
            f"Too few distinct images in {source}: {short}; at least {MINIMUM_PER_CLASS} of each class are needed to "
            "fill three splits. Add images of these classes."
        )


def _known_splits(connection: Connection) -> dict[str, Split]:
    rows = connection.execute(text("select group_key, split::text from split_assignment"))
    return {row.group_key: Split(row.split) for row in rows}


def _build(
    source: S3Uri, chosen: list[_Candidate], splits: Mapping[str, Split], left_out: list[LeftOut], *, count_copy: int
) -> Snapshot:
    images = tuple(
        SnapshotImage(**asdict(candidate), split=splits[candidate.group_key])
        for candidate in sorted(chosen, key=lambda c: c.image_sha256)
    )
    lines = "\n".join(f"{image.image_sha256} {image.label} {image.split}" for image in images)
    return Snapshot(
        snapshot_id=sha256(lines.encode()).hexdigest()[:16],
        source_uri=str(source),
        images=images,
        count_copy=count_copy,
        left_out=tuple(sorted(left_out, key=lambda item: item.image_uri)),
    )


def _record(connection: Connection, snapshot: Snapshot) -> None:
    inserted = connection.execute(
        text("""
        insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out)
        values (:id, :source, :count_image, :count_copy, cast(:left_out as jsonb))
        on conflict do nothing"""),
        {
            "id": snapshot.snapshot_id,
            "source": snapshot.source_uri,
            "count_image": len(snapshot.images),
            "count_copy": snapshot.count_copy,
            "left_out": json.dumps([asdict(item) for item in snapshot.left_out]),
        },
    )
    if inserted.rowcount == 0:
        return
    connection.execute(
        text(
            """
            insert into split_assignment (group_key, split) values (:key, cast(:split as split))
            on conflict do nothing"""
        ),
        [{"key": image.group_key, "split": image.split} for image in snapshot.images],
    )
    copy_rows(
        connection,
        "snapshot_image",
        ["snapshot_id", "image_sha256", "group_key", "label", "split", "image_uri"],
        ((snapshot.snapshot_id, i.image_sha256, i.group_key, i.label, i.split, i.image_uri) for i in snapshot.images),
    )
