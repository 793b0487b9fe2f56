"""Erase one person: rows, pages and pictures go, a tombstone without identity stays.

The rows go by the SQL function ``erase_subject``, which runs with the rights of the schema's owner. What S3 holds goes
before its transaction commits: whoever is interrupted asks again, and finds what is left. What models learnt is not
unlearnt: the tombstone names the snapshots that held images of the person.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from braintumor import database
from braintumor.dataset.identified import PATIENT
from braintumor.dataset.image import under_pseudonyms
from braintumor.dataset.quality import short_name
from braintumor.dataset.snapshot import read_images
from braintumor.errors import DatabaseError, ErasureError
from braintumor.imaging.deidentify import erased_mark, pseudonym
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.pages.environment import page_environment
from braintumor.pages.store import write_page
from braintumor.settings import Settings

_PICTURES = ("samples", "worst_errors")
"""Plots of a model that show images of its test split."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was done.

    Attributes:
        counts: rows that were deleted, by table.
        snapshot_ids: snapshots that held images of the person; models trained on them are not unlearnt.
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

    The labelled images are read, all of them, to find those that name the same patient.

    Raises:
        ErasureError: nothing is stored of the pseudonym.
        DatabaseError: a run is scoring at this moment, or the login may not erase.
    """
    key = settings.require("pseudonym_key").encode()
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    labelled = _labelled_images(store, S3Uri.parse_prefix(settings.require("dataset_uri")), subject, key)
    models = S3Uri.parse_prefix(settings.require("models_uri"))
    try:
        with database.transaction(engine) as connection:
            found: dict[str, Any] = connection.execute(
                text("select erase_subject(:subject, :mark, cast(:images as text[]), :actor, :reason)"),
                {
                    "subject": subject,
                    "mark": erased_mark(subject, key=key),
                    "images": list(labelled),
                    "actor": actor,
                    "reason": reason,
                },
            ).scalar_one()
            removed = [*_clean_pages(store, models, found), *_clean_models(store, found), *found["picture_uris"]]
            store.delete(S3Uri.parse(uri) for uri in found["picture_uris"])
            objects = sorted({*found["object_uris"], *labelled.values()})
            if with_objects:
                store.delete(S3Uri.parse(uri) for uri in objects)
    except DatabaseError as error:
        if "nothing is stored" in str(error):
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


def _labelled_images(store: ObjectStore, dataset: S3Uri, subject: str, key: bytes) -> dict[str, str]:
    """The labelled images whose DICOM header names this patient: sha256 of each, and where it lies."""
    images, _ = read_images(store, dataset, anywhere=True)
    return {
        image.image_sha256: image.image_uri
        for image in images
        if f"{PATIENT} {subject}" in under_pseudonyms(image, key).patient
    }


def _clean_pages(store: ObjectStore, models: S3Uri, found: dict[str, Any]) -> Iterator[str]:
    """Replace every page that shows one of the scans or images, and take the images out of manifests."""
    scans, images = set(found["scan_ids"]), set(found["image_sha256s"])
    names = {short_name(sha256) for sha256 in images}
    entries = [entry for folder in ("runs/", "snapshots/") for entry in store.list(models / folder)]
    for entry in entries:
        uri = S3Uri(bucket=entry.bucket, key=entry.key)
        if entry.key.endswith(".html"):
            page = store.read(uri).decode()
            shown = {int(number) for number in re.findall(r"\bScan (\d+)\b", page)}
            if shown & scans or any(name in page for name in names):
                write_page(store, uri, _gone())
                yield str(uri)
        elif entry.key.endswith(".csv"):
            manifest = store.read(uri).decode()
            kept = _without(manifest, images)
            if kept != manifest:
                store.write(uri, kept.encode(), content_type="text/csv; charset=utf-8")
                yield str(uri)


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


def _clean_models(store: ObjectStore, found: dict[str, Any]) -> Iterator[str]:
    """Reports show images of the test split: pictures go, and `braintumor model evaluate` draws them again."""
    for artefact in found["artefact_uris"]:
        folder = S3Uri.parse(artefact)
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
    return page_environment(Path(__file__).parent / "pages/templates").get_template("erased.html").render()
