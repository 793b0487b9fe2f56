"""Take snapshots: read the labeled images, check them, assign their splits and record the result.

The database remembers the split of each file under two keys: the sha256 of its bytes and of its pixels. An upgrade of
the decoder can change pixels. The sha256 of the bytes then still finds the split, so no image moves to another split.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256

from sqlalchemy import Connection, Engine, text

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
from braintumor.dataset.snapshot import Snapshot, SnapshotImage, record_snapshot
from braintumor.dataset.splits.grouping import Grouping, group_key
from braintumor.dataset.splits.reviewed_frames_split import split_images, split_reviewed_frames
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import advisory_lock, transaction
from braintumor.errors import DatasetError, ObjectMissingError
from braintumor.labels import CLASSES
from braintumor.reports.paths import publish_page, snapshot_path
from braintumor.s3 import ObjectStore, S3Uri

MINIMUM_PER_CLASS = 10
"""Smallest number of distinct images of a class. With fewer, a split can lack the class: 15% of 10 is 1.5."""


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
        record_snapshot(connection, snapshot)
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
    return partition_images(
        store.concurrently(lambda entry: read_image(store, source, entry, anywhere=anywhere), store.list(source))
    )


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
