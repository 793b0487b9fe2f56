"""Erase one person: delete rows, pages and images, and keep a tombstone without identity.

The SQL function ``erase_subject`` inserts the tombstone, a row of the table ``erasure``. It deletes the person's rows
with the rights of the schema's owner. Models are not retrained. The tombstone names the snapshots with images of the
person.

An operator can repeat an interrupted erasure. ``erase`` cleans pages and deletes images of reviewed frames before the
transaction commits, because the database still names them for a repetition. It changes the tables of patients and
deletes the person's files after the commit, because it finds the files by these tables and files. By then the database
has their addresses.

An erasure holds the lock ``IMAGES`` exclusively, so it never runs at the same time as a block of ``writing_images``.
The database keeps a keyed mark (HMAC-SHA256) of each of the person's files. Snapshots and scoring runs refuse files
with such a mark. The database also keeps the addresses of the person's objects that remain in S3. ``erased_objects``
forgets an address when the object is gone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import IMAGES, ErasedSubjects, hashes_of, identity_of
from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.dataset.images.patient_table import without_patient
from braintumor.dataset.labeled_files import LabeledFiles, read_labeled_files
from braintumor.db import database
from braintumor.errors import DatabaseError, ErasureError
from braintumor.imaging.pseudonym import erased_mark, pseudonym
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import FLIP_PREVIEW, RESCORE_REPORT, write_page
from braintumor.s3 import ObjectStore, S3Uri

_IMAGE_PLOTS = ("samples", "worst_errors")
"""Names of the plots that show images of the model's test split."""
_NOTHING_STORED = "UE001"
"""The SQLSTATE that ``erase_subject`` raises for an unknown pseudonym."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """The result of an erasure.

    Attributes:
        counts: number of deleted rows by table.
        snapshot_ids: snapshots with images of the person. Models trained on them are not retrained.
        removed: S3 addresses of the pages, manifests, plots and images that were deleted or rewritten.
        object_uris: S3 addresses of the person's files, which can identify the person. Only the operator sees them.
        are_objects_deleted: whether the files at ``object_uris`` were deleted. If they were not, the operator must
            delete them.
        unread_uris: S3 addresses of the prefixes of snapshots and of the labeled files that were not read. Files of the
            person can remain there.
    """

    erasure_id: int
    counts: dict[str, int]
    snapshot_ids: tuple[str, ...]
    removed: tuple[str, ...]
    object_uris: tuple[str, ...] = field(repr=False)
    are_objects_deleted: bool
    unread_uris: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A patient pseudonym, the number of scans with this pseudonym, and the number of sites that these scans name.

    Scans of several sites may show several patients, because hospitals can give the same patient number twice.
    """

    pseudonym: str
    count_scan: int
    count_site: int


def find_subject(settings: Settings, patient_number: str) -> Subject:
    """Return the pseudonym of a patient number (DICOM PatientID), and the numbers of its scans and of their sites.

    An empty patient number raises ``ErasureError``, and a missing key for pseudonyms raises ``ConfigurationError``.
    """
    patient = pseudonym(patient_number, kind="patient", key=settings.require("pseudonym_key").encode())
    if patient is None:
        raise ErasureError("No patient number was given. Type one, or send it to standard input.")
    with database.transaction(database.connect(settings)) as connection:
        scans, sites = connection.execute(
            text("select count(*), count(distinct site_pseudonym) from scan where patient_pseudonym = :one"),
            {"one": patient},
        ).one()
    return Subject(pseudonym=patient, count_scan=scans, count_site=sites)


def erase(settings: Settings, subject: str, *, actor: str, reason: str, with_objects: bool = False) -> Erasure:
    """Erase the patient with the pseudonym ``subject``, a value of ``scan.patient_pseudonym``.

    The function reads all labeled images below the prefix of the dataset and the prefixes of all snapshots, because
    their DICOM headers name the patient and the database does not. Images that snapshots exclude are read too. The
    function also uses the stored tables of patients, and deletes the patient from them. The result names what was not
    read. The tombstone keeps the actor and the reason. With ``with_objects``, the person's own files in S3 are deleted
    too.

    Raises:
        ErasureError: the pseudonym is unknown, or another process is in a block of ``writing_images``.
        DatabaseError: a scoring run is active, or the login has no right to erase.
    """
    key = settings.require("pseudonym_key").encode()
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    dataset = S3Uri.parse_prefix(settings.require("dataset_uri"))
    models = S3Uri.parse_prefix(settings.require("models_uri"))
    mark = erased_mark(subject, key=key)
    with database.transaction(engine) as held:
        _lock_images(held)
        labeled = read_labeled_files(held, store, dataset, key=settings.pseudonym_key)
        try:
            with database.transaction(engine) as connection:
                earlier = ErasedSubjects(marks=_earlier_marks(connection, mark), key=key)
                images = [image.image_sha256 for image in _of_subject(labeled, subject, earlier)]
                erased: dict[str, Any] = connection.execute(
                    text("select erase_subject(:subject, :mark, cast(:images as text[]), :actor, :reason)"),
                    {"subject": subject, "mark": mark, "images": images, "actor": actor, "reason": reason},
                ).scalar_one()
                removed = [*_clean_pages(connection, store, models, erased), *_clean_models(store, erased)]
                removed += erased["picture_uris"]
                store.delete(S3Uri.parse(uri) for uri in erased["picture_uris"])
                removed += _delete_unnamed_frames(connection, store, models)
                objects = _mark_files(connection, store, erased, labeled, key=key)
        except DatabaseError as error:
            raise _nothing_stored(labeled) if error.sqlstate == _NOTHING_STORED else error from None
        removed += without_patient(store, labeled.entries, key, patient=subject, images=set(erased["image_sha256s"]))
        if with_objects:
            with database.transaction(engine) as connection:
                _settle_objects(connection, store, objects, delete=True)
    return Erasure(
        erasure_id=erased["erasure_id"],
        counts=erased["counts"],
        snapshot_ids=tuple(erased["snapshot_ids"]),
        removed=tuple(removed),
        object_uris=tuple(objects),
        are_objects_deleted=with_objects,
        unread_uris=(*labeled.unlisted, *labeled.unread),
    )


def _nothing_stored(labeled: LabeledFiles) -> ErasureError:
    """Return the error for a pseudonym that neither the database nor a labeled file names."""
    count = len(labeled.unlisted) + len(labeled.unread)
    unread = f" {count} prefixes or labeled files could not be read. Give the right to read them." if count else ""
    return ErasureError(
        "No data is stored for this pseudonym. Give a value of scan.patient_pseudonym, which "
        f"`braintumor scan show ID` shows.{unread}"
    )


@dataclass(frozen=True, kw_only=True)
class ErasedObjects:
    """The objects of erased people whose deletion was not confirmed before.

    Attributes:
        left: addresses of the objects that are still in S3.
        count_gone: number of the objects that are no longer in S3.
    """

    left: tuple[str, ...] = field(repr=False)
    count_gone: int


def erased_objects(settings: Settings, *, delete: bool = False) -> ErasedObjects:
    """Return the objects of erased people that are still in S3, and delete the stored addresses of the other objects.

    An object that was overwritten after the erasure counts as gone, because it can be another person's file. With
    ``delete``, the function first deletes the objects that are still in S3.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    with database.transaction(engine) as connection:
        uris = connection.scalars(text("select object_uri from erasure_object")).all()
        return _settle_objects(connection, store, uris, delete=delete)


def _settle_objects(connection: Connection, store: ObjectStore, uris: Sequence[str], *, delete: bool) -> ErasedObjects:
    """Return which of the recorded objects at ``uris`` are still in S3, and delete the other addresses from the table.

    With ``delete``, the function first deletes the objects that are still in S3.
    """
    recorded = text("select object_uri, etag from erasure_object where object_uri = any(:uris)")
    kept = {row.object_uri: row.etag for row in connection.execute(recorded, {"uris": list(uris)})}
    remaining = [uri for uri, etag in _etags(store, kept).items() if etag == kept[uri]]
    if delete:
        store.delete(S3Uri.parse(uri) for uri in remaining)
        remaining = []
    deleted = list(kept.keys() - set(remaining))
    connection.execute(text("delete from erasure_object where object_uri = any(:deleted)"), {"deleted": deleted})
    return ErasedObjects(left=tuple(sorted(remaining)), count_gone=len(deleted))


def _lock_images(connection: Connection) -> None:
    """Take the lock ``IMAGES`` exclusively, or raise ``ErasureError`` at once.

    The function does not wait, because waiting could take hours and would block later writers of images.
    """
    if not database.try_advisory_lock(connection, IMAGES):
        raise ErasureError(
            "A snapshot, an evaluation, a preview or a report is writing images now. Nothing was erased. Run the "
            "command again when it has ended."
        )


def _earlier_marks(connection: Connection, mark: str) -> frozenset[str]:
    """Return the keyed marks of the files that earlier erasures of the same person recorded."""
    earlier = (
        "select content_mark from erased_content join erased_subject using (erasure_id) where subject_mark = :mark"
    )
    return frozenset(connection.scalars(text(earlier), {"mark": mark}))


def _of_subject(labeled: LabeledFiles, subject: str, earlier: ErasedSubjects) -> list[LabeledImage | ExcludedImage]:
    """Return the labeled and excluded images of the person with the pseudonym ``subject``.

    An image is the person's if its DICOM header or a table of patients names the patient. If the header names no
    patient, an image of one of the person's studies is the person's. A file that an earlier erasure of the person
    marked is the person's too. So is every image with the same pixels as an image of the person.
    """
    named = labeled.named(subject)
    images = [(image, *identity_of(image, earlier.key)) for image in labeled.images]
    studies = {study for _, patient, study in images if patient == subject and study}
    hashes = {
        digest
        for image, patient, study in images
        if patient == subject
        or image.image_sha256 in named
        or (patient is None and study in studies)
        or earlier.holds_image(image)
        for digest in hashes_of(image)
    }
    return [image for image, _, _ in images if hashes_of(image) & hashes]


def _mark_files(
    connection: Connection,
    store: ObjectStore,
    erased: Mapping[str, Any],
    labeled: LabeledFiles,
    *,
    key: bytes,
) -> list[str]:
    """Record keyed marks, addresses and ETags of the person's files, and return the S3 addresses.

    ``erased`` is the result of ``erase_subject``. A recorded ETag of an earlier file at one of the addresses is
    replaced.
    """
    contents = set(erased["contents"])
    duplicates = [image for image in labeled.images if hashes_of(image) & contents]
    contents = contents.union(*map(hashes_of, duplicates))
    connection.execute(
        text("insert into erased_content select unnest(cast(:marks as text[])), :erasure"),
        {"marks": sorted({erased_mark(name, key=key) for name in contents}), "erasure": erased["erasure_id"]},
    )
    etags = _objects_of(store, erased, labeled, {image.image_uri for image in duplicates})
    values = {"erasure": erased["erasure_id"], "uris": list(etags), "etags": list(etags.values())}
    connection.execute(text("delete from erasure_object where object_uri = any(:uris)"), values)
    connection.execute(
        text("""
        insert into erasure_object (object_uri, etag, erasure_id)
        select uri, etag, :erasure from unnest(cast(:uris as text[]), cast(:etags as text[])) as object (uri, etag)"""),
        values,
    )
    return list(etags)


def _objects_of(
    store: ObjectStore, erased: Mapping[str, Any], labeled: LabeledFiles, found: set[str]
) -> dict[str, str]:
    """Return the current ETag by address of each object of the person.

    ``found`` has the addresses of the person's labeled files. An object that was overwritten since it was scored,
    listed or recorded can be another person's file, so it is left out. So are objects that are gone, and objects below
    prefixes that S3 refuses to list.
    """
    listed = labeled.etags
    theirs = {uri: set(etags) for uri, etags in erased["scan_etags"].items()}
    for uri, etag in [*erased["waiting"].items(), *((uri, listed[uri]) for uri in found)]:
        theirs.setdefault(uri, set()).add(etag)
    others = {image.image_uri for image in labeled.images} - found
    named = {uri for uri in erased["object_uris"] if not uri.startswith(tuple(labeled.unlisted))}
    current = _etags(store, {*named, *theirs} - others)
    return {uri: etag for uri, etag in sorted(current.items()) if etag in theirs.get(uri, {listed.get(uri, etag)})}


def _etags(store: ObjectStore, uris: Iterable[str]) -> dict[str, str]:
    """Return the ETag of the object at each address. Addresses without an object in S3 are missing in the result."""

    def find(uri: str) -> tuple[str, str | None]:
        parsed = S3Uri.parse(uri)
        first = next(store.list(parsed), None)  # the object itself, because S3 lists in the order of keys
        return uri, first.etag if first and first.key == parsed.key else None

    return {uri: etag for uri, etag in store.concurrently(find, uris) if etag}


def _clean_pages(connection: Connection, store: ObjectStore, models: S3Uri, erased: Mapping[str, Any]) -> Iterator[str]:
    """Replace pages that name or show the person's scans or images, clean manifests, and yield the changed addresses.

    Manifests lose the person's images.
    A page without a row in the table ``page`` can show any person, so it is replaced too. Such pages exist if the
    database was restored from an older backup than S3.
    """
    notice, images = _erased_page(), set(erased["image_sha256s"])
    for page_uri in _etags(store, erased["page_uris"]):
        write_page(store, S3Uri.parse(page_uri), notice)
        yield page_uri
    recorded = set(connection.scalars(text("select page_uri from page")))
    for entry in [entry for folder in ("runs/", "snapshots/") for entry in store.list(models / folder)]:
        uri = S3Uri(bucket=entry.bucket, key=entry.key)
        if _shows_images(entry.key) and str(uri) not in recorded and store.read(uri).decode() != notice:
            write_page(store, uri, notice)
            yield str(uri)
        elif entry.key.endswith(".csv"):
            manifest = store.read(uri).decode()
            kept = _without_images(manifest, images)
            if kept != manifest:
                store.write(uri, kept.encode(), content_type="text/csv; charset=utf-8")
                yield str(uri)


def _delete_unnamed_frames(connection: Connection, store: ObjectStore, models: S3Uri) -> list[str]:
    """Delete the images of reviewed frames that no row names, and return their addresses.

    Such images can show any person. They exist if the database was restored from an older backup than S3. A snapshot
    draws an image again if its frame has a label.
    """
    found = [str(S3Uri(bucket=entry.bucket, key=entry.key)) for entry in store.list(models / "reviewed/")]
    named = """
        select image_uri from reviewed_frame where image_uri = any(:uris)
        union select image_uri from snapshot_image where image_uri = any(:uris)"""
    unnamed = sorted({*found} - {*connection.scalars(text(named), {"uris": found})})
    store.delete(map(S3Uri.parse, unnamed))
    return unnamed


def _shows_images(key: str) -> bool:
    """Return whether a page with this S3 key can show images, by its file name and folder."""
    folder, _, name = key.rpartition("/")
    return name in (FLIP_PREVIEW, RESCORE_REPORT) or (f"/{folder}".endswith("/snapshots") and name.endswith(".html"))


def _without_images(manifest: str, images: set[str]) -> str:
    """Return a snapshot's manifest, as CSV text, without the images whose sha256 is in ``images``.

    A group key is the sha256 of an image. If that image is removed, the lowest remaining sha256 becomes the group key.
    """
    rows = list(csv.DictReader(io.StringIO(manifest)))
    kept = [row for row in rows if row["image_sha256"] not in images]
    if len(kept) == len(rows):
        return manifest
    keys: dict[str, str] = {}
    for row in kept:
        keys[row["group_key"]] = min(keys.get(row["group_key"], row["image_sha256"]), row["image_sha256"])
    for row in kept:
        if row["group_key"] in images:
            row["group_key"] = keys[row["group_key"]]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return stream.getvalue()


def _clean_models(store: ObjectStore, erased: Mapping[str, Any]) -> Iterator[str]:
    """Delete plots with test images, replace reports, and yield the addresses of both.

    The function does so for all models that were trained on a snapshot with images of the person. The command
    `braintumor model evaluate` makes new plots and reports.
    """
    for artifact in erased["artifact_uris"]:
        folder = S3Uri.parse(artifact)
        present = {S3Uri(bucket=entry.bucket, key=entry.key) for entry in store.list(folder)}
        plots = [uri for name in _IMAGE_PLOTS if (uri := folder / f"plots/{name}.png") in present]
        store.delete(plots)
        yield from map(str, plots)
        report = folder / "report.html"
        if report in present:
            write_page(store, report, _erased_page())
            yield str(report)


def _erased_page() -> str:
    """Return the HTML page that replaces each page with data of an erased person."""
    return page_environment(Path(__file__).parent / "reports/templates").get_template("erased.html").render()
