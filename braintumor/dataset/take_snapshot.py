"""Take snapshots: read the labeled images, check them, assign their splits and record the result.

The database remembers the split of each file under two keys: the sha256 of its bytes and of its pixels. An upgrade of
the decoder can change pixels. The sha256 of the bytes then still finds the split, so no image moves to another split.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

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
from braintumor.dataset.images.patient_table import load_patient_table
from braintumor.dataset.images.upload_mark import require_ended_uploads
from braintumor.dataset.label_exclusions import LabelExclusion, read_exclusions, record_exclusions, without_listed
from braintumor.dataset.quality.checks import assess
from braintumor.dataset.quality.gate import require_quality
from braintumor.dataset.quality.report import quality_report, shown_images
from braintumor.dataset.quality.rules import QualityRules
from braintumor.dataset.review_labels.frames import ReviewedImages, reviewed_images
from braintumor.dataset.review_labels.rules import LabelRules
from braintumor.dataset.snapshot import Snapshot, SnapshotImage, record_snapshot
from braintumor.dataset.splits.grouping import Grouping, group_key
from braintumor.dataset.splits.near_links import ComparedImages
from braintumor.dataset.splits.reviewed_frames_split import ReviewedFramesSplit, split_images, split_reviewed_frames
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.db.database import advisory_lock, transaction
from braintumor.errors import DatasetError
from braintumor.labels import CLASSES
from braintumor.progress import progress
from braintumor.reports.paths import publish_page, snapshot_path
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri

MINIMUM_PER_CLASS = 10
"""Smallest number of distinct images of a class. With fewer, a split can lack the class: 15% of 10 is 1.5."""


@dataclass(frozen=True, kw_only=True)
class _Input:
    """The content of a new snapshot, before it is grouped and split.

    Attributes:
        source: the S3 prefix of the labeled images.
        images: the labeled images.
        excluded: the images that are excluded already, with reasons.
        reviewed: the reviewed frames.
        exclusions: the rows of the exclusion list that exclude an image. They are recorded with the snapshot.
        test_needs_patient: as in ``split_images``.
        compared: the images that the quality check has compared.
    """

    source: S3Uri
    images: list[LabeledImage]
    excluded: list[ExcludedImage]
    reviewed: ReviewedImages
    exclusions: list[LabelExclusion]
    test_needs_patient: bool
    compared: ComparedImages


def snapshot_of(settings: Settings, prefix: str | None = None, exclusion_list: Path | None = None) -> Snapshot:
    """Take and record a snapshot of the labeled images below an S3 prefix and of the reviewed frames.

    The same images, labels and splits give the same snapshot id. The function writes the manifest
    ``snapshots/<snapshot_id>.csv`` and the quality report ``snapshots/<snapshot_id>.html`` below the prefix of all
    models. It excludes files of erased people. It blocks erasures until the report is written.

    Args:
        settings: for Postgres, S3, the key of the pseudonyms, the rule files and the default prefix.
        prefix: S3 prefix of the labeled images. By default the prefix in the settings.
        exclusion_list: path of the exclusion list. By default the list in the settings, if there is one.

    Raises:
        DatasetError: an upload has not ended, or the images do not pass the data quality gate. Or a class is missing,
            has fewer than ``MINIMUM_PER_CLASS`` distinct images, or has no image in a split. Or the table of patients
            or the exclusion list is invalid. No snapshot is recorded.
        ConfigurationError: a rule file or a setting is invalid, or a key is needed and not set.
    """
    source = S3Uri.parse_prefix(prefix or settings.require("dataset_uri"))
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    path = exclusion_list or settings.label_exclusions
    exclusions = read_exclusions(path) if path else []
    with writing_images(engine):
        return _snapshot_of(settings, engine, store, source, exclusions)


def _snapshot_of(
    settings: Settings, engine: Engine, store: ObjectStore, source: S3Uri, exclusions: list[LabelExclusion]
) -> Snapshot:
    rules = QualityRules.load(settings.quality_rules)
    models = S3Uri.parse_prefix(settings.require("models_uri"))
    entries = list(store.list(source))
    require_ended_uploads(entries, source)
    table = load_patient_table(store, entries, settings.pseudonym_key, where=str(source))
    test_needs_patient = table is not None and not settings.is_yes("unidentified_in_test")
    patients = table.patients if table else {}
    read = read_images(store, source, entries)
    labeled, unreadable, erased = without_erased(engine, settings, *read, patients=patients)
    if table is not None:
        labeled = table.identify(labeled)
    quality = assess(without_listed(labeled, exclusions)[0], unreadable, rules)
    require_quality(engine, store, models, quality, source=str(source), test_needs_patient=test_needs_patient)
    reviewed = reviewed_images(engine, store, models, LabelRules.load(settings.label_rules))
    count_listed = len(exclusions)
    kept, listed, exclusions = without_listed([*labeled, *reviewed.images], exclusions)
    images = [image for image in kept if not image.reviewed]
    reviewed = replace(reviewed, images=tuple(image for image in kept if image.reviewed))
    # Reviewed frames have pseudonyms, so the other images need pseudonyms too.
    if table is None and reviewed.images and any(image.patient for image in images):
        key = settings.require("pseudonym_key").encode()
        images = [pseudonymize(image, key) for image in images]
    snapshot = _take(
        engine,
        _Input(
            source=source,
            images=images,
            excluded=[*unreadable, *erased, *listed],
            reviewed=reviewed,
            exclusions=exclusions,
            test_needs_patient=test_needs_patient,
            compared=quality.compared,
        ),
    )
    _write_manifest(store, models, snapshot)
    page = quality_report(
        quality, source=str(source), snapshot=snapshot, exclusions=exclusions, count_listed=count_listed
    )
    address = models / snapshot_path(snapshot.snapshot_id)
    shown = shown_images(quality) | {item.image_sha256 for item in exclusions}
    publish_page(engine, store, address, page, image_sha256s=shown)
    return replace(snapshot, exclusion_rows=(len(exclusions), count_listed) if count_listed else None)


def _take(engine: Engine, given: _Input) -> Snapshot:
    """Group labeled images and reviewed frames, assign splits, and record the snapshot."""
    reviewed = given.reviewed
    with transaction(engine) as connection:
        advisory_lock(connection, "splits")
        remembered = _remembered(connection)
        if reviewed.images:
            split = split_reviewed_frames(
                given.images,
                reviewed.images,
                remembered,
                _test_hashes(connection),
                test_needs_patient=given.test_needs_patient,
                compared=given.compared,
            )
        else:
            split = split_images(
                given.images, remembered, test_needs_patient=given.test_needs_patient, compared=given.compared
            )
        _require_enough(split.grouping, given.source)
        snapshot = _build(given, split)
        _require_every_split(snapshot)
        _remember(connection, split.grouping, split.splits)
        record_snapshot(connection, snapshot)
        record_exclusions(connection, snapshot.snapshot_id, given.exclusions)
        reviewed.record(connection, snapshot.snapshot_id, {item.image_uri: item.reason for item in snapshot.excluded})
    return snapshot


def read_images(
    store: ObjectStore, source: S3Uri, entries: Sequence[ObjectEntry], *, anywhere: bool = False
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return every labeled image below ``source``, and the excluded images.

    Args:
        store: the object store.
        source: the S3 prefix of the dataset.
        entries: the listing of ``source``.
        anywhere: whether to also read objects outside class folders, as in ``read_image``.
    """
    with progress("Reading labeled images", len(entries)) as advance:
        read = store.concurrently(lambda entry: read_image(store, source, entry, anywhere=anywhere), entries)
        return partition_images(read, advance)


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

    A class can have too few groups. Removing images from S3 can empty a class in a split, because an image never moves
    to another split.

    Raises:
        DatasetError: a split has no images of a class.
    """
    counts = snapshot.counts()
    empty = [f"{label} in {split}" for split, by_class in counts.items() for label, n in by_class.items() if n == 0]
    groups = Counter(label for _, label in {(image.group_key, image.label) for image in snapshot.images})
    few = {label.value: groups[label] for label in CLASSES if groups[label] < len(Split)}
    if few:
        raise DatasetError(
            f"{snapshot.source_uri} has no images of {', '.join(empty)}. Images of one patient, and near-duplicates, "
            f"are one group in one split. Each class needs {len(Split)} groups or more. Received: {few}. Add images of "
            "other patients. If a patient in the table is a placeholder, correct the table."
        )
    if empty:
        ids = snapshot.identified
        rule = f" {ids.test_rule} BRAINTUMOR_UNIDENTIFIED_IN_TEST changes it." if ids and ids.test_rule else ""
        raise DatasetError(
            f"{snapshot.source_uri} has no images of {', '.join(empty)}. An image keeps its split forever, so others "
            f"do not replace it. Restore the missing images, or add new ones of these classes.{rule}"
        )


def _build(given: _Input, split: ReviewedFramesSplit) -> Snapshot:
    grouping, splits = split.grouping, split.splits
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
    excluded = [*given.excluded, *given.reviewed.excluded, *grouping.excluded]
    return Snapshot(
        snapshot_id=sha256(lines.encode()).hexdigest()[:16],
        source_uri=str(given.source),
        images=images,
        count_copy=sum(image.count_file - 1 for image in images),
        excluded=tuple(sorted(excluded, key=lambda item: (item.image_uri, item.reason))),
        identified=_patient_ids(split, test_needs_patient=given.test_needs_patient),
    )


def _patient_ids(split: ReviewedFramesSplit, *, test_needs_patient: bool) -> PatientIds:
    """Return the counts of images with patient identifiers.

    With ``test_needs_patient``, the counts include the images that are kept out of test for lack of a known patient.
    """
    identifiers = PatientIds.of(member.patient for group in split.grouping.groups for member in group)
    if not test_needs_patient:
        return identifiers
    groups = split.grouping.to_split(split.identified)
    kept_from_test = (
        group.count for key, group in groups.items() if not group.may_test and split.splits[key] is not Split.TEST
    )
    exempt = tuple(label for label in CLASSES if label not in split.identified)
    return replace(identifiers, count_kept_from_test=sum(kept_from_test), exempt=exempt)


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
    """Write a snapshot's manifest to S3. It is a CSV of each image's hashes, class, split and group.

    An earlier manifest of the snapshot is overwritten, because groups and hashes of pixels can change under one
    snapshot id. The addresses of the images are only in Postgres, because an address can name a patient.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image_sha256", "pixel_sha256", "label", "split", "group_key"])
    for image in snapshot.images:
        writer.writerow([image.image_sha256, image.pixel_sha256, image.label, image.split, image.group_key])
    address = models / f"snapshots/{snapshot.snapshot_id}.csv"
    store.write(address, stream.getvalue().encode(), content_type="text/csv; charset=utf-8")
