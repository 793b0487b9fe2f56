"""Take, record and load snapshots: immutable, content-addressed lists of labeled images with their splits.

The database remembers the split of each file under two keys: the sha256 of its bytes and of its pixels. An upgrade of
the decoder can change pixels. The sha256 of the bytes then still finds the split, so no image moves to another split.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import pandas as pd
from sqlalchemy import Connection, Engine, Row, text

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import without_erased, writing_images
from braintumor.dataset.images.labeled_image import (
    ExcludedImage,
    LabeledImage,
    partition_images,
    pseudonymize,
    read_image,
)
from braintumor.dataset.images.local_folder import require_every_class
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.dataset.quality.checks import assess
from braintumor.dataset.quality.gate import current_report, require_quality
from braintumor.dataset.quality.report import shown_images
from braintumor.dataset.quality.rules import QualityRules
from braintumor.dataset.review_labels.frames import ReviewedImages, reviewed_images
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.dataset.splits.grouping import DistinctImage, Grouping, group_key
from braintumor.dataset.splits.reviewed_frames_split import split_images, split_reviewed_frames
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import advisory_lock, copy_rows, transaction
from braintumor.errors import DatasetError, ObjectMissingError
from braintumor.labels import CLASSES, TumorClass
from braintumor.progress import progress
from braintumor.reports.paths import publish_page, snapshot_path
from braintumor.s3 import ObjectStore, S3Uri

MINIMUM_PER_CLASS = 10
"""Smallest number of distinct images of a class. With fewer, a split can lack the class: 15% of 10 is 1.5."""


@dataclass(frozen=True, kw_only=True)
class SnapshotImage:
    """One image of a snapshot.

    Attributes:
        image_sha256: hex sha256 of the bytes of the image's file.
        pixel_sha256: hex sha256 of the decoded gray pixels.
        perceptual_hash: 256 bytes, as in ``LabeledImage``. Empty in snapshots of earlier versions.
        group_key: name of the image's group. Images of one group have the same key within one snapshot.
        label: the class.
        split: the split.
        image_uri: the address in S3.
        attributes: values for evaluation by slice, as in ``LabeledImage``.
        count_file: number of files with these pixels. The snapshot uses one of them.
    """

    image_sha256: str
    pixel_sha256: str
    perceptual_hash: bytes = field(repr=False)
    group_key: str
    label: TumorClass
    split: Split
    image_uri: str
    attributes: Mapping[str, str] = field(hash=False)
    count_file: int = 1

    @classmethod
    def of(cls, distinct: DistinctImage, *, group_key: str, split: Split) -> Self:
        """Return the snapshot image of a distinct image, with the hashes and address of its first file."""
        image = distinct.image
        return cls(
            image_sha256=image.image_sha256,
            pixel_sha256=image.pixel_sha256,
            perceptual_hash=image.perceptual_hash,
            group_key=group_key,
            label=distinct.label,
            split=split,
            image_uri=image.image_uri,
            attributes=image.attributes,
            count_file=len(distinct.files),
        )


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Labeled images with their splits, in a fixed order.

    Attributes:
        snapshot_id: 16 hex digits of the sha256 of all images, labels and splits.
        source_uri: S3 prefix of the images when the snapshot was last taken.
        images: the images, sorted by ``image_sha256``.
        count_copy: number of files that are not in ``images`` because they repeat the pixels of an image.
        excluded: the excluded images when the snapshot was last taken.
        identified: counts of images with patient identifiers. ``None`` in snapshots of earlier versions.
    """

    snapshot_id: str
    source_uri: str
    images: tuple[SnapshotImage, ...]
    count_copy: int
    excluded: tuple[ExcludedImage, ...]
    identified: PatientIds | None

    def of_split(self, split: Split) -> list[SnapshotImage]:
        """Return the images of one split, in snapshot order."""
        return [image for image in self.images if image.split is split]

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with one row per image.

        The columns are the sha256, group key, label, split and address, and one column per attribute.
        """
        columns = ("image_sha256", "group_key", "label", "split", "image_uri")
        return pd.DataFrame(
            [{**{name: str(getattr(image, name)) for name in columns}, **image.attributes} for image in self.images]
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class, including zeros."""
        counts = Counter((image.split, image.label) for image in self.images)
        return {split.value: {label.value: counts[split, label] for label in CLASSES} for split in Split}

    @property
    def count_group(self) -> int:
        """Return the number of groups."""
        return len({image.group_key for image in self.images})

    def excluded_by_reason(self) -> dict[str, int]:
        """Return the number of excluded images by reason. The result has no addresses, so it may be logged."""
        return dict(Counter(item.reason.partition(":")[0] for item in self.excluded))


def snapshot_of(settings: Settings, prefix: str | None = None) -> Snapshot:
    """Take and record a snapshot of the labeled images below an S3 prefix and of the reviewed frames.

    The function writes the manifest ``snapshots/<snapshot_id>.csv`` and the quality report
    ``snapshots/<snapshot_id>.html`` below the prefix of all models. It excludes files of erased people. It blocks
    erasures until the report is written.

    Args:
        settings: for Postgres, S3, the rule files and the default prefix.
        prefix: S3 prefix of the labeled images. By default the prefix in the settings.

    Raises:
        DatasetError: the images do not pass the data quality gate, or ``take_snapshot`` raises it. No snapshot is
            recorded.
        QualityRulesError: the file of quality rules is invalid.
        LabelRulesError: the file of label rules is invalid.
    """
    source = S3Uri.parse_prefix(prefix or settings.require("dataset_uri"))
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    with writing_images(engine):
        return _snapshot_of(settings, engine, store, source)


def _snapshot_of(settings: Settings, engine: Engine, store: ObjectStore, source: S3Uri) -> Snapshot:
    rules = QualityRules.load(settings.quality_rules)
    models = S3Uri.parse_prefix(settings.require("models_uri"))
    images, unreadable, erased = without_erased(engine, settings, *read_images(store, source))
    quality = assess(images, unreadable, rules)
    require_quality(engine, store, models, quality, source=str(source))
    reviewed = reviewed_images(engine, store, models, LabelRules.load(settings.label_rules))
    if reviewed.images and any(image.patient for image in images):  # because frames have pseudonyms
        key = settings.require("pseudonym_key").encode()
        images = [pseudonymize(image, key) for image in images]
    snapshot = take_snapshot(engine, source, images, [*unreadable, *erased], reviewed)
    _write_manifest(store, models, snapshot)
    page = current_report(quality, source=str(source), snapshot_id=snapshot.snapshot_id, splits=snapshot.counts())
    address = models / snapshot_path(snapshot.snapshot_id)
    publish_page(engine, store, address, page, image_sha256s=shown_images(quality))
    return snapshot


def take_snapshot(
    engine: Engine,
    source: S3Uri,
    images: list[LabeledImage],
    unreadable: list[ExcludedImage],
    reviewed: ReviewedImages | None = None,
) -> Snapshot:
    """Group labeled images and reviewed frames, assign splits, and record the snapshot.

    The same images, labels and splits give the same snapshot id.

    Args:
        engine: the database.
        source: the S3 prefix of the labeled images.
        images: the labeled images.
        unreadable: the images that the caller excluded already, with reasons.
        reviewed: the reviewed frames. ``None`` for a snapshot without them.

    Raises:
        DatasetError: a class is missing, has fewer than ``MINIMUM_PER_CLASS`` distinct images, or has no image in a
            split.
    """
    with transaction(engine) as connection:
        advisory_lock(connection, "splits")
        remembered = _remembered(connection)
        if reviewed is not None and reviewed.images:
            split = split_reviewed_frames(images, reviewed.images, remembered, _test_hashes(connection))
        else:
            split = split_images(images, remembered)
        _require_enough(split.grouping, source)
        excluded = unreadable if reviewed is None else [*unreadable, *reviewed.excluded]
        snapshot = _build(source, split.grouping, split.splits, excluded)
        _require_every_split(snapshot)
        _remember(connection, split.grouping, split.splits)
        _record(connection, snapshot)
        if reviewed is not None:
            reviewed.record(
                connection, snapshot.snapshot_id, {item.image_uri: item.reason for item in snapshot.excluded}
            )
    return snapshot


def read_images(
    store: ObjectStore, source: S3Uri, *, anywhere: bool = False
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return every labeled image below ``source``, and the excluded images.

    Args:
        store: the object store.
        source: the S3 prefix of the dataset.
        anywhere: also read objects outside class folders, as in ``read_image``.
    """
    entries = list(store.list(source))
    with progress("Reading labeled images", len(entries)) as advance:
        read = store.concurrently(lambda entry: read_image(store, source, entry, anywhere=anywhere), entries)
        return partition_images(read, advance)


def load_snapshot(engine: Engine, snapshot_id: str) -> Snapshot:
    """Return a recorded snapshot with its images.

    Raises:
        DatasetError: there is no snapshot with this id.
    """
    with transaction(engine) as connection:
        head = snapshot_head(connection, snapshot_id)
        rows = connection.execute(
            text("""
            select image_sha256, pixel_sha256, perceptual_hash, group_key, label::text, split::text, image_uri,
                   attributes, count_file
            from snapshot_image where snapshot_id = :id order by image_sha256"""),
            {"id": snapshot_id},
        ).mappings()
        images = [
            SnapshotImage(
                **{
                    **row,
                    "perceptual_hash": bytes(row["perceptual_hash"]),
                    "label": TumorClass(row["label"]),
                    "split": Split(row["split"]),
                }
            )
            for row in rows
        ]
    return Snapshot(
        snapshot_id=snapshot_id,
        source_uri=head.source_uri,
        images=tuple(images),
        count_copy=head.count_copy,
        excluded=tuple(ExcludedImage(**item) for item in head.left_out),
        identified=identified_of(head),
    )


def identified_of(head: Row[Any]) -> PatientIds | None:
    """Return the counts of images with patient identifiers from ``head``, a snapshot's row.

    ``None`` for a snapshot of an earlier version, whose row has no such counts.
    """
    if head.count_identified is None:
        return None
    return PatientIds(
        count_image=head.count_image,
        count_identified=head.count_identified,
        count_patient=head.count_patient_identified,
    )


def snapshot_head(connection: Connection, snapshot_id: str) -> Row[Any]:
    """Return a snapshot's row, without its images: ``source_uri``, ``left_out`` (the excluded images) and counts.

    Raises:
        DatasetError: there is no snapshot with this id.
    """
    head = connection.execute(
        text("""
        select source_uri, count_image, count_copy, left_out, count_identified, count_patient_identified
        from snapshot where snapshot_id = :id"""),
        {"id": snapshot_id},
    ).one_or_none()
    if head is None:
        raise DatasetError(f"There is no snapshot {snapshot_id!r}. Take one first: `braintumor dataset snapshot`.")
    return head


def _remembered(connection: Connection) -> dict[str, Split]:
    """Return the split of every image of earlier snapshots.

    Each image has two keys: the sha256 of its file's bytes, and the sha256 of its pixels.
    """
    rows = connection.execute(text("select image_sha256, pixel_sha256, split::text from split_assignment")).all()
    by_pixels = {row.pixel_sha256: Split(row.split) for row in rows}
    return by_pixels | {row.image_sha256: Split(row.split) for row in rows}


def _test_hashes(connection: Connection) -> set[bytes]:
    """Return the perceptual hash of each image that was ever in a test split."""
    rows = connection.execute(text("select distinct perceptual_hash from snapshot_image where split = 'test'"))
    return {bytes(row.perceptual_hash) for row in rows}


def _require_enough(grouping: Grouping, source: S3Uri) -> None:
    counts = Counter(member.label for group in grouping.groups for member in group if not member.image.reviewed)
    require_every_class(counts, where=str(source))
    short = {label.value: counts[label] for label in CLASSES if counts[label] < MINIMUM_PER_CLASS}
    if short:
        raise DatasetError(
            f"Too few distinct images in {source}: {short}. At least {MINIMUM_PER_CLASS} of each class are needed to "
            "fill three splits. Add images of these classes."
        )


def _require_every_split(snapshot: Snapshot) -> None:
    """Check that every split has images of every class.

    Removing images from S3 can empty a class in a split, because an image never moves to another split.

    Raises:
        DatasetError: a split has no images of a class.
    """
    counts = snapshot.counts()
    empty = [f"{label} in {split}" for split, by_class in counts.items() for label, n in by_class.items() if n == 0]
    if empty:
        raise DatasetError(
            f"{snapshot.source_uri} has no images of {', '.join(empty)}. An image keeps its split forever, so others "
            "do not replace it. Restore the missing images, or add new ones of these classes."
        )


def _build(source: S3Uri, grouping: Grouping, splits: Mapping[str, Split], unreadable: list[ExcludedImage]) -> Snapshot:
    images = tuple(
        sorted(
            (
                SnapshotImage.of(member, group_key=group_key(group), split=splits[group_key(group)])
                for group in grouping.groups
                for member in group
            ),
            key=lambda image: image.image_sha256,
        )
    )
    lines = "\n".join(f"{image.image_sha256} {image.label} {image.split}" for image in images)
    return Snapshot(
        snapshot_id=sha256(lines.encode()).hexdigest()[:16],
        source_uri=str(source),
        images=images,
        count_copy=sum(image.count_file - 1 for image in images),
        excluded=tuple(sorted([*unreadable, *grouping.excluded], key=lambda item: (item.image_uri, item.reason))),
        identified=PatientIds.of(
            frozenset().union(*(file.patient for file in member.files)) for group in grouping.groups for member in group
        ),
    )


def _remember(connection: Connection, grouping: Grouping, splits: Mapping[str, Split]) -> None:
    connection.execute(
        text("""
        insert into split_assignment (image_sha256, pixel_sha256, split)
        values (:image, :pixels, cast(:split as split))
        on conflict do nothing"""),
        [
            {"image": file.image_sha256, "pixels": file.pixel_sha256, "split": splits[group_key(group)]}
            for group in grouping.groups
            for member in group
            for file in member.files
        ],
    )


def _record(connection: Connection, snapshot: Snapshot) -> None:
    """Insert the snapshot and its images.

    If the snapshot exists, update its source, excluded images and counts. Also update the facts of each image, such as
    its address.
    """
    connection.execute(
        text("""
        insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out, count_identified,
            count_patient_identified)
        values (:id, :source, :count_image, :count_copy, cast(:left_out as jsonb), :count_identified, :count_patient)
        on conflict (snapshot_id) do update
        set source_uri = excluded.source_uri, count_copy = excluded.count_copy, left_out = excluded.left_out,
            count_identified = excluded.count_identified,
            count_patient_identified = excluded.count_patient_identified"""),
        {
            "id": snapshot.snapshot_id,
            "source": snapshot.source_uri,
            "count_image": len(snapshot.images),
            "count_copy": snapshot.count_copy,
            "left_out": json.dumps([vars(item) for item in snapshot.excluded]),
            "count_identified": snapshot.identified and snapshot.identified.count_identified,
            "count_patient": snapshot.identified and snapshot.identified.count_patient,
        },
    )
    connection.execute(text("create temporary table taken (like snapshot_image) on commit drop"))
    columns = [*_IDENTITY, *_FACTS]
    copy_rows(connection, "taken", columns, (_row(snapshot.snapshot_id, image) for image in snapshot.images))
    connection.execute(
        text(f"""
        insert into snapshot_image ({", ".join(columns)})
        select {", ".join(columns)} from taken
        on conflict (snapshot_id, image_sha256) do update
        set {", ".join(f"{name} = excluded.{name}" for name in _FACTS)}""")
    )


_IDENTITY = ("snapshot_id", "image_sha256", "label", "split")
_FACTS = ("pixel_sha256", "perceptual_hash", "group_key", "image_uri", "attributes", "count_file")


def _row(snapshot_id: str, image: SnapshotImage) -> tuple[object, ...]:
    return (
        snapshot_id,
        image.image_sha256,
        image.label,
        image.split,
        image.pixel_sha256,
        "\\x" + image.perceptual_hash.hex(),
        image.group_key,
        image.image_uri,
        json.dumps(image.attributes),
        image.count_file,
    )


def _write_manifest(store: ObjectStore, models: S3Uri, snapshot: Snapshot) -> None:
    """Write a snapshot's manifest to S3, unless it exists. It is a CSV of each image's hashes, class, split and group.

    The addresses of the images are only in Postgres, because an address can name a patient.
    """
    address = models / f"snapshots/{snapshot.snapshot_id}.csv"
    try:
        store.read(address, max_bytes=1)
    except ObjectMissingError:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image_sha256", "pixel_sha256", "label", "split", "group_key"])
        for image in snapshot.images:
            writer.writerow([image.image_sha256, image.pixel_sha256, image.label, image.split, image.group_key])
        store.write(address, stream.getvalue().encode(), content_type="text/csv; charset=utf-8")
