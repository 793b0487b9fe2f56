"""Erase one person: rows, pages and pictures go, a tombstone without identity stays.

The rows go by the SQL function ``erase_subject``, which runs with the rights of the schema's owner. What S3 holds goes
before its transaction commits: whoever is interrupted asks again, and finds what is left. What models learned is not
unlearned: the tombstone names the snapshots that held images of the person.

An erasure holds the lock of ``writing_images`` alone. Keyed marks of the person's files stay, so that snapshots and
nights refuse these files. Addresses of objects that stay in S3 are kept until their deletion is confirmed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import IMAGES, ErasedSubjects, identity_of
from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.snapshot import read_images
from braintumor.db import database
from braintumor.errors import DatabaseError, ErasureError
from braintumor.imaging.pseudonym import erased_mark, pseudonym
from braintumor.reports.jinja import page_environment
from braintumor.reports.paths import FLIP_PREVIEW, RESCORE_REPORT, write_page
from braintumor.s3 import ObjectStore, S3Uri

_PICTURES = ("samples", "worst_errors")
"""Plots of a model that show images of its test split."""
_NOTHING_STORED = "UE001"
"""The SQLSTATE by which ``erase_subject`` says that it found nothing."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was done.

    Attributes:
        counts: rows that were deleted, by table.
        snapshot_ids: snapshots that held images of the person; models trained on them are not unlearned.
        removed: addresses of pages and pictures that were removed or rewritten.
        object_uris: addresses of the person's images: they can identify, and are for the terminal of who asked.
        are_objects_deleted: whether these were deleted; otherwise somebody has to.
    """

    erasure_id: int
    counts: dict[str, int]
    snapshot_ids: tuple[str, ...]
    removed: tuple[str, ...]
    object_uris: tuple[str, ...] = field(repr=False)
    are_objects_deleted: bool


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A patient as the database knows them."""

    pseudonym: str
    count_scan: int


def find_subject(settings: Settings, patient_number: str) -> Subject:
    """The pseudonym of a patient number, as DICOM's PatientID has it, and how many scans have it.

    Raises:
        ConfigurationError: there is no key for pseudonyms.
        ErasureError: no number was given.
    """
    known_as = pseudonym(patient_number, kind="patient", key=settings.require("pseudonym_key").encode())
    if known_as is None:
        raise ErasureError("No patient number was given. Type one, or send it to standard input.")
    with database.transaction(database.connect(settings)) as connection:
        count = connection.scalar(text("select count(*) from scan where patient_pseudonym = :one"), {"one": known_as})
    return Subject(pseudonym=known_as, count_scan=count or 0)


def erase(settings: Settings, subject: str, *, actor: str, reason: str, with_objects: bool = False) -> Erasure:
    """Erase the patient of a pseudonym (``scan.patient_pseudonym``).

    The labeled images are read, all of them, to find those that name the same patient.

    Raises:
        ErasureError: nothing is stored of the pseudonym, or images are being written at this moment.
        DatabaseError: a run is scoring at this moment, or the login may not erase.
    """
    key = settings.require("pseudonym_key").encode()
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    dataset = S3Uri.parse_prefix(settings.require("dataset_uri"))
    models = S3Uri.parse_prefix(settings.require("models_uri"))
    mark = erased_mark(subject, key=key)
    try:
        with database.transaction(engine) as connection:
            _wait_for_nobody(connection)
            labeled, _ = read_images(store, dataset, anywhere=True)
            theirs = _of_subject(labeled, subject, ErasedSubjects(marks=_earlier_marks(connection, mark), key=key))
            found: dict[str, Any] = connection.execute(
                text("select erase_subject(:subject, :mark, cast(:images as text[]), :actor, :reason)"),
                {
                    "subject": subject,
                    "mark": mark,
                    "images": [image.image_sha256 for image in theirs],
                    "actor": actor,
                    "reason": reason,
                },
            ).scalar_one()
            removed = [*_clean_pages(connection, store, models, found), *_clean_models(store, found)]
            removed += found["picture_uris"]
            store.delete(S3Uri.parse(uri) for uri in found["picture_uris"])
            objects = _forget(connection, store, found, labeled, key=key, with_objects=with_objects)
    except DatabaseError as error:
        if error.sqlstate == _NOTHING_STORED:
            raise ErasureError(
                "Nothing is stored of this pseudonym. Give one that stands in scan.patient_pseudonym, as "
                "`braintumor scan show ID` says it."
            ) from None
        raise
    return Erasure(
        erasure_id=found["erasure_id"],
        counts=found["counts"],
        snapshot_ids=tuple(found["snapshot_ids"]),
        removed=tuple(removed),
        object_uris=tuple(objects),
        are_objects_deleted=with_objects,
    )


@dataclass(frozen=True, kw_only=True)
class ErasedObjects:
    """Objects of erased people.

    Attributes:
        left: addresses of those that are still in S3.
        count_gone: how many are gone now; their addresses are forgotten.
    """

    left: tuple[str, ...] = field(repr=False)
    count_gone: int


def erased_objects(settings: Settings, *, delete: bool = False) -> ErasedObjects:
    """Look which objects of erased people are still in S3, and forget the addresses of the others.

    An object that was overwritten since the erasure counts as gone, because another person's file may be there now.
    With ``delete`` the rest is deleted too.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    with database.transaction(engine) as connection:
        kept = {row.object_uri: row.etag for row in connection.execute(text("select * from erasure_object"))}
        left = [uri for uri, etag in _etags(store, kept).items() if etag == kept[uri]]
        if delete:
            store.delete(S3Uri.parse(uri) for uri in left)
            left = []
        gone = list(kept.keys() - set(left))
        connection.execute(text("delete from erasure_object where object_uri = any(:gone)"), {"gone": gone})
    return ErasedObjects(left=tuple(sorted(left)), count_gone=len(gone))


def _wait_for_nobody(connection: Connection) -> None:
    """Take the lock of everything that writes images, or refuse.

    Waiting could last for hours, and would hold up every writer that comes after.
    """
    if not database.try_turn(connection, IMAGES):
        raise ErasureError(
            "A snapshot, an evaluation, a preview or a report is writing images at this moment. Nothing was erased. "
            "Run the command again when it has ended."
        )


def _earlier_marks(connection: Connection, mark: str) -> frozenset[str]:
    """Marks of files that earlier erasures of the same person left."""
    earlier = (
        "select content_mark from erased_content join erased_subject using (erasure_id) where subject_mark = :mark"
    )
    return frozenset(connection.scalars(text(earlier), {"mark": mark}))


def _of_subject(labeled: Iterable[LabeledImage], subject: str, earlier: ErasedSubjects) -> list[LabeledImage]:
    """Find the person's labeled images.

    These are the ones whose DICOM header names the patient, the ones without a patient in the same studies, copies with
    the same pixels, and files that an earlier erasure has a mark of.
    """
    images = [(image, *identity_of(image, earlier.key)) for image in labeled]
    studies = {study for _, patient, study in images if patient == subject and study}
    theirs = {
        image.pixel_sha256
        for image, patient, study in images
        if patient == subject or (patient is None and study in studies) or earlier.holds_image(image)
    }
    return [image for image, _, _ in images if image.pixel_sha256 in theirs]


def _forget(
    connection: Connection,
    store: ObjectStore,
    found: Mapping[str, Any],
    labeled: Iterable[LabeledImage],
    *,
    key: bytes,
    with_objects: bool,
) -> list[str]:
    """Keep marks of the person's files, and delete their objects or keep the addresses; returns the addresses."""
    contents = set(found["contents"])
    also = [image for image in labeled if {image.image_sha256, image.pixel_sha256} & contents]
    contents |= {name for image in also for name in (image.image_sha256, image.pixel_sha256)}
    connection.execute(
        text("insert into erased_content select unnest(cast(:marks as text[])), :erasure"),
        {"marks": sorted({erased_mark(name, key=key) for name in contents}), "erasure": found["erasure_id"]},
    )
    waiting = found["waiting"]
    unchanged = {uri for uri, etag in _etags(store, waiting).items() if etag == waiting[uri]}
    objects = sorted({*found["object_uris"], *unchanged, *(image.image_uri for image in also)})
    if with_objects:
        store.delete(S3Uri.parse(uri) for uri in objects)
        return objects
    etags = _etags(store, objects)
    connection.execute(
        text("""
        insert into erasure_object (object_uri, etag, erasure_id)
        select uri, etag, :erasure from unnest(cast(:uris as text[]), cast(:etags as text[])) as object (uri, etag)
        on conflict (object_uri) do nothing"""),
        {"erasure": found["erasure_id"], "uris": list(etags), "etags": list(etags.values())},
    )
    return objects


def _etags(store: ObjectStore, uris: Iterable[str]) -> dict[str, str]:
    """The version of each of these objects that is in S3."""

    def find(uri: str) -> tuple[str, str | None]:
        wanted = S3Uri.parse(uri)
        first = next(store.list(wanted), None)  # in key order, so the object itself comes first
        return uri, first.etag if first and first.key == wanted.key else None

    return {uri: etag for uri, etag in store.concurrently(find, uris) if etag}


def _clean_pages(connection: Connection, store: ObjectStore, models: S3Uri, found: Mapping[str, Any]) -> Iterator[str]:
    """Replace every page that shows one of the scans or images, and take the images out of manifests.

    A page that was written before pages were recorded may show anybody, so it is replaced as well.
    """
    gone, images = _gone(), set(found["image_sha256s"])
    for shown in _etags(store, found["page_uris"]):
        write_page(store, S3Uri.parse(shown), gone)
        yield shown
    recorded = set(connection.scalars(text("select page_uri from page")))
    for entry in [entry for folder in ("runs/", "snapshots/") for entry in store.list(models / folder)]:
        uri = S3Uri(bucket=entry.bucket, key=entry.key)
        if _shows_images(entry.key) and str(uri) not in recorded and store.read(uri).decode() != gone:
            write_page(store, uri, gone)
            yield str(uri)
        elif entry.key.endswith(".csv"):
            manifest = store.read(uri).decode()
            kept = _without(manifest, images)
            if kept != manifest:
                store.write(uri, kept.encode(), content_type="text/csv; charset=utf-8")
                yield str(uri)


def _shows_images(key: str) -> bool:
    """Whether the page is of a kind that shows images."""
    folder, _, name = key.rpartition("/")
    return name in (FLIP_PREVIEW, RESCORE_REPORT) or (f"/{folder}".endswith("/snapshots") and name.endswith(".html"))


def _without(manifest: str, images: set[str]) -> str:
    """A snapshot's manifest without these images; a group that was named by one has its next image's name."""
    rows = list(csv.DictReader(io.StringIO(manifest)))
    kept = [row for row in rows if row["image_sha256"] not in images]
    if len(kept) == len(rows):
        return manifest
    heirs: dict[str, str] = {}
    for row in kept:
        heirs[row["group_key"]] = min(heirs.get(row["group_key"], row["image_sha256"]), row["image_sha256"])
    for row in kept:
        if row["group_key"] in images:
            row["group_key"] = heirs[row["group_key"]]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return stream.getvalue()


def _clean_models(store: ObjectStore, found: Mapping[str, Any]) -> Iterator[str]:
    """Reports show images of the test split: pictures go, and `braintumor model evaluate` draws them again."""
    for artifact in found["artifact_uris"]:
        folder = S3Uri.parse(artifact)
        present = {S3Uri(bucket=entry.bucket, key=entry.key) for entry in store.list(folder)}
        pictures = [uri for name in _PICTURES if (uri := folder / f"plots/{name}.png") in present]
        store.delete(pictures)
        yield from map(str, pictures)
        report = folder / "report.html"
        if report in present:
            write_page(store, report, _gone())
            yield str(report)


def _gone() -> str:
    """What stands in place of a page that showed the person."""
    return page_environment(Path(__file__).parent / "reports/templates").get_template("erased.html").render()
