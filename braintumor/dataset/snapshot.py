"""Hold, record and load snapshots: immutable, content-addressed lists of labeled images with their splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd
from sqlalchemy import Connection, Engine, Row, text

from braintumor.dataset.images.labeled_image import ExcludedImage
from braintumor.dataset.images.patient_ids import PatientIds
from braintumor.dataset.splits.grouping import DistinctImage
from braintumor.dataset.splits.split import Split
from braintumor.db.database import copy_rows, transaction
from braintumor.db.statements import statement
from braintumor.errors import DatasetError
from braintumor.labels import CLASSES, TumorClass


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
        has_patient: whether the patient is known. The patient itself is not stored.
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
    has_patient: bool = False

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
            has_patient=distinct.has_patient,
        )


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Labeled images with their splits, in a fixed order.

    Attributes:
        snapshot_id: 16 hex digits of the sha256 of all images, labels and splits.
        source_uri: S3 prefix of the images. Taking equal images from another prefix updates it.
        images: the images, sorted by ``image_sha256``.
        count_copy: number of files that are not in ``images`` because they repeat the pixels of an image.
        excluded: the images that were left out, with the reasons, at the newest taking.
        identified: counts of images with patient identifiers. ``None`` in snapshots of earlier versions.
        exclusion_rows: number of rows of the exclusion list that name an image, and of all its rows. ``None`` without a
            list, and in a snapshot from the database.
    """

    snapshot_id: str
    source_uri: str
    images: tuple[SnapshotImage, ...]
    count_copy: int
    excluded: tuple[ExcludedImage, ...]
    identified: PatientIds | None
    exclusion_rows: tuple[int, int] | None = field(default=None, compare=False)

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
                   attributes, count_file, has_patient
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
    """Return the counts of images with patient identifiers that ``head``, the database row of a snapshot, has.

    Return ``None`` for a snapshot of an earlier version of this program, whose row has no such counts.
    """
    if head.count_identified is None:
        return None
    return PatientIds(
        count_image=head.count_image,
        count_identified=head.count_identified,
        count_patient=head.count_patient_identified,
        count_kept_from_test=head.count_kept_from_test,
        exempt=tuple(map(TumorClass, head.exempt_classes)),
    )


def snapshot_head(connection: Connection, snapshot_id: str) -> Row[Any]:
    """Return a snapshot's row, without its images: ``source_uri``, ``left_out`` (the excluded images) and counts.

    Raises:
        DatasetError: there is no snapshot with this id.
    """
    head = connection.execute(
        text("""
        select source_uri, count_image, count_copy, left_out, count_identified, count_patient_identified,
            count_kept_from_test, exempt_classes
        from snapshot where snapshot_id = :id"""),
        {"id": snapshot_id},
    ).one_or_none()
    if head is None:
        raise DatasetError(f"There is no snapshot {snapshot_id!r}. Take one first: `braintumor dataset snapshot`.")
    return head


def record_snapshot(connection: Connection, snapshot: Snapshot) -> None:
    """Insert the snapshot and its images.

    If the snapshot exists, update its source, excluded images and counts. Also update the facts of each image, such as
    its address.
    """
    connection.execute(
        statement("dataset/record_snapshot"),
        {
            "id": snapshot.snapshot_id,
            "source": snapshot.source_uri,
            "count_image": len(snapshot.images),
            "count_copy": snapshot.count_copy,
            "left_out": json.dumps([item.to_dict() for item in snapshot.excluded]),
            "count_identified": snapshot.identified and snapshot.identified.count_identified,
            "count_patient": snapshot.identified and snapshot.identified.count_patient,
            "kept_from_test": snapshot.identified and snapshot.identified.count_kept_from_test,
            "exempt": [label.value for label in snapshot.identified.exempt] if snapshot.identified else [],
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
_FACTS = ("pixel_sha256", "perceptual_hash", "group_key", "image_uri", "attributes", "count_file", "has_patient")


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
        image.has_patient,
    )
