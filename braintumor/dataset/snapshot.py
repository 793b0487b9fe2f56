"""A snapshot: an immutable, content-addressed list of labelled images with their split.

Images with the same pixels form a group. A group enters once, whatever the number of its copies, so that no image is
in two splits; a group whose copies carry different labels does not enter at all, and is named.

Splits are remembered by image, copies too, by its bytes and by its pixels: a decoder of tomorrow that sets one pixel
otherwise moves nothing. A group whose members were in different splits before does not enter either.
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
    """The images of one training, in a fixed order.

    ``snapshot_id`` says which images, labels and splits these are; where they lie, and what lay beside them, is as it
    was when the snapshot was last taken.
    """

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

    def left_out_by_reason(self) -> dict[str, int]:
        """How many images could not enter, by reason, without their addresses: what a log may say."""
        return dict(Counter(item.reason.partition(":")[0] for item in self.left_out))


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    image_sha256: str
    group_key: str
    label: TumorClass
    image_uri: str


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Images with the same pixels and label; the first of them stands for all."""

    members: tuple[_Candidate, ...]

    @property
    def chosen(self) -> _Candidate:
        return self.members[0]


def take_snapshot(
    engine: Engine, store: ObjectStore, source: S3Uri, *, on_read: Callable[[int], None] = lambda _: None
) -> Snapshot:
    """Read every labelled image under ``source``, group, split and record them; the same images give the same id.

    Raises:
        DatasetError: a class is missing, has fewer than ``MINIMUM_PER_CLASS`` distinct images, or none in a split.
    """
    candidates, left_out = _read_all(store, source, on_read)
    groups, conflicts = _groups(candidates)
    _require_enough(groups, source)
    with transaction(engine) as connection:
        connection.execute(text("lock table split_assignment in share row exclusive mode"))
        groups, known, bridges = _remembered(groups, _known_splits(connection))
        splits = assign({group.chosen.group_key: group.chosen.label for group in groups}, known)
        snapshot = _build(source, groups, splits, left_out + conflicts + bridges)
        _require_every_split(snapshot)
        _remember(connection, groups, splits)
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


def _groups(candidates: Iterable[_Candidate]) -> tuple[list[_Group], list[LeftOut]]:
    by_pixels: defaultdict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_pixels[candidate.group_key].append(candidate)
    groups: list[_Group] = []
    conflicts: list[LeftOut] = []
    for members in by_pixels.values():
        labels = sorted({member.label for member in members})
        if len(labels) == 1:
            ordered = sorted(members, key=lambda member: (member.image_sha256, member.image_uri))
            groups.append(_Group(members=tuple(ordered)))
        else:
            conflicts += _all_left_out(members, f"identical images are labelled {' and '.join(labels)}")
    return groups, conflicts


def _all_left_out(members: Iterable[_Candidate], reason: str) -> list[LeftOut]:
    return [LeftOut(image_uri=member.image_uri, reason=reason) for member in members]


def _require_enough(groups: list[_Group], source: S3Uri) -> None:
    counts = Counter(group.chosen.label for group in groups)
    require_every_class(counts, where=str(source))
    short = {label.value: counts[label] for label in CLASSES if counts[label] < MINIMUM_PER_CLASS}
    if short:
        raise DatasetError(
            f"Too few distinct images in {source}: {short}; at least {MINIMUM_PER_CLASS} of each class are needed to "
            "fill three splits. Add images of these classes."
        )


def _require_every_split(snapshot: Snapshot) -> None:
    """Splits never change, so images that were removed can leave a split without a class."""
    counts = snapshot.counts()
    empty = [f"{label} in {split}" for split, by_class in counts.items() for label, n in by_class.items() if n == 0]
    if empty:
        raise DatasetError(
            f"{snapshot.source_uri} has no images of {', '.join(empty)}. An image keeps its split for ever, so others "
            "do not fill the gap. Bring the missing images back, or add new ones of these classes."
        )


def _known_splits(connection: Connection) -> dict[str, Split]:
    """The split of every image ever taken, by the sha256 of its bytes and by that of its pixels."""
    rows = connection.execute(text("select image_sha256, pixel_sha256, split::text from split_assignment")).all()
    by_pixels = {row.pixel_sha256: Split(row.split) for row in rows}
    return by_pixels | {row.image_sha256: Split(row.split) for row in rows}


def _remembered(
    groups: list[_Group], known: Mapping[str, Split]
) -> tuple[list[_Group], dict[str, Split], list[LeftOut]]:
    """The groups that may enter, the splits of those that had one, and what bridges two splits."""
    entering: list[_Group] = []
    splits: dict[str, Split] = {}
    bridges: list[LeftOut] = []
    for group in groups:
        keys = {group.chosen.group_key, *(member.image_sha256 for member in group.members)}
        found = sorted({known[key] for key in keys if key in known})
        if len(found) > 1:
            bridges += _all_left_out(group.members, f"identical images were in {' and '.join(found)}")
            continue
        entering.append(group)
        if found:
            splits[group.chosen.group_key] = found[0]
    return entering, splits, bridges


def _build(source: S3Uri, groups: list[_Group], splits: Mapping[str, Split], left_out: list[LeftOut]) -> Snapshot:
    images = tuple(
        SnapshotImage(**asdict(candidate), split=splits[candidate.group_key])
        for candidate in sorted((group.chosen for group in groups), key=lambda c: c.image_sha256)
    )
    lines = "\n".join(f"{image.image_sha256} {image.label} {image.split}" for image in images)
    return Snapshot(
        snapshot_id=sha256(lines.encode()).hexdigest()[:16],
        source_uri=str(source),
        images=images,
        count_copy=sum(len(group.members) - 1 for group in groups),
        left_out=tuple(sorted(left_out, key=lambda item: item.image_uri)),
    )


def _remember(connection: Connection, groups: list[_Group], splits: Mapping[str, Split]) -> None:
    members = [member for group in groups for member in group.members]
    connection.execute(
        text("""
        insert into split_assignment (image_sha256, pixel_sha256, split)
        values (:image, :pixels, cast(:split as split))
        on conflict do nothing"""),
        [{"image": m.image_sha256, "pixels": m.group_key, "split": splits[m.group_key]} for m in members],
    )


def _record(connection: Connection, snapshot: Snapshot) -> None:
    """Write the snapshot; one that is found again is brought up to date in where its images lie now."""
    connection.execute(
        text("""
        insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out)
        values (:id, :source, :count_image, :count_copy, cast(:left_out as jsonb))
        on conflict (snapshot_id) do update
        set source_uri = excluded.source_uri, count_copy = excluded.count_copy, left_out = excluded.left_out"""),
        {
            "id": snapshot.snapshot_id,
            "source": snapshot.source_uri,
            "count_image": len(snapshot.images),
            "count_copy": snapshot.count_copy,
            "left_out": json.dumps([asdict(item) for item in snapshot.left_out]),
        },
    )
    connection.execute(text("create temporary table taken (like snapshot_image) on commit drop"))
    columns = ["snapshot_id", "image_sha256", "group_key", "label", "split", "image_uri"]
    copy_rows(
        connection,
        "taken",
        columns,
        ((snapshot.snapshot_id, i.image_sha256, i.group_key, i.label, i.split, i.image_uri) for i in snapshot.images),
    )
    connection.execute(
        text(f"""
        insert into snapshot_image ({", ".join(columns)})
        select {", ".join(columns)} from taken
        on conflict (snapshot_id, image_sha256) do update
        set image_uri = excluded.image_uri, group_key = excluded.group_key""")
    )
