"""Read the files of the dataset and of all snapshots for an erasure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.dataset.images.patient_table import PatientTable, load_patient_table
from braintumor.dataset.take_snapshot import read_images
from braintumor.errors import ObjectStoreError, ObjectStoreUnreachableError
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri


@dataclass(frozen=True, kw_only=True)
class LabeledFiles:
    """The files below the prefix of the dataset and below the prefixes of all snapshots.

    Attributes:
        entries: the listed objects.
        images: the labeled and excluded images whose bytes were read.
        tables: the tables of patients, one for each prefix that has one.
        unread: addresses of the images that were not read: S3 refused them, they are too large, or they changed.
        unlisted: prefixes of snapshots that S3 refuses to list, for example because their bucket was deleted.
    """

    entries: Sequence[ObjectEntry]
    images: Sequence[LabeledImage | ExcludedImage]
    tables: Sequence[PatientTable] = field(repr=False)
    unread: Sequence[str]
    unlisted: Sequence[str]

    @property
    def etags(self) -> dict[str, str]:
        """Return the listed ETag by the address of the object."""
        return {str(S3Uri(bucket=entry.bucket, key=entry.key)): entry.etag for entry in self.entries}

    def named(self, patient: str) -> set[str]:
        """Return the sha256 of the files that a table names as files of the patient with this pseudonym."""
        return {image for table in self.tables for image, named in table.patients.items() if named == patient}


def read_labeled_files(connection: Connection, store: ObjectStore, dataset: S3Uri, *, key: str | None) -> LabeledFiles:
    """Read all files below ``dataset`` and below the prefixes of all snapshots, also those that snapshots exclude.

    Args:
        connection: the database, which names the prefixes of the snapshots.
        store: the object store.
        dataset: the S3 prefix of the dataset in the settings.
        key: secret key of the pseudonyms in the tables of patients.

    Raises:
        ObjectStoreError: S3 is unreachable, or refuses to list ``dataset``.
        DatasetError: a table of patients is invalid, or its pseudonyms have another key.
    """
    listings, unlisted = _list(connection, store, dataset)
    images: list[LabeledImage | ExcludedImage] = []
    tables = []
    for prefix, entries in listings.items():
        labeled, excluded = read_images(store, prefix, entries, anywhere=True)
        images += [*labeled, *excluded]
        tables.append(load_patient_table(store, entries, key, where=str(prefix)))
    return LabeledFiles(
        entries=[entry for entries in listings.values() for entry in entries],
        images=[image for image in images if image.image_sha256],
        tables=[table for table in tables if table],
        unread=[image.image_uri for image in images if not image.image_sha256],
        unlisted=unlisted,
    )


def _list(
    connection: Connection, store: ObjectStore, dataset: S3Uri
) -> tuple[dict[S3Uri, list[ObjectEntry]], list[str]]:
    """Return the objects by prefix, and the prefixes that S3 refuses to list.

    An object below several prefixes belongs to the longest of them.
    """
    recorded = connection.scalars(text("select distinct source_uri from snapshot"))
    listings: dict[S3Uri, list[ObjectEntry]] = {}
    unlisted: list[str] = []
    seen: set[tuple[str, str]] = set()
    for prefix in sorted({dataset, *map(S3Uri.parse_prefix, recorded)}, key=lambda uri: len(uri.key), reverse=True):
        try:
            listed = [entry for entry in store.list(prefix) if (entry.bucket, entry.key) not in seen]
        except ObjectStoreError as error:
            if prefix == dataset or isinstance(error, ObjectStoreUnreachableError):
                raise
            unlisted.append(str(prefix))
            continue
        listings[prefix] = listed
        seen |= {(entry.bucket, entry.key) for entry in listed}
    return listings, unlisted
