"""Read a hospital's table of patients, and store it next to the labeled images under keyed pseudonyms.

JPEG and PNG files name no patient. A hospital's table has one row per image, with the image's path or sha256 and its
patient. Each upload stores its new rows in a hidden object of its own, so uploads at the same time keep each other's
rows. The object has the sha256 of each file and the pseudonym of its patient. So it stays valid when files are moved,
added or uploaded again.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from braintumor.dataset.images.labeled_image import LabeledImage, pseudonymize
from braintumor.dataset.images.patient_ids import PATIENT
from braintumor.errors import DatasetError
from braintumor.imaging.pseudonym import key_mark, pseudonym
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri

TABLE = ".patients.json"
"""End of the name of each stored table. The name begins with a dot, because hidden files are never read as images."""
COLUMN = "patient"
"""Default name of the column with the patient."""
_MANGLED = re.compile(
    r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!)|nan|NaN|<NA>"  # errors and empty cells
    r"|\d([.,]\d+)?[Ee]\+\d+|\d+\.0"  # numbers that lost digits or became fractions
)
"""Pattern of the cells that spreadsheet programs and pandas write in place of a patient number."""
_SHOWN = 10
"""Most row numbers that an error shows for each kind of mistake."""


class _Stored(BaseModel):
    """The content of a stored table.

    ``key_mark`` recognizes the key of the pseudonyms without revealing it. ``patients`` has the pseudonym of the
    patient by the sha256 of the file.
    """

    model_config = ConfigDict(extra="forbid")

    key_mark: str
    patients: dict[
        Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")],
        Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")],
    ]


@dataclass(frozen=True, kw_only=True)
class PatientTable:
    """A table that names the patient of each image by a pseudonym.

    Attributes:
        key: secret key of the pseudonyms.
        patients: pseudonym of the patient, by the hex sha256 of the file.
    """

    key: bytes = field(repr=False)
    patients: Mapping[str, str] = field(repr=False)

    def identify(self, images: Iterable[LabeledImage]) -> list[LabeledImage]:
        """Return the images with pseudonyms in place of identifiers, and with the patients of the table.

        The table's patient replaces the patient in the DICOM header, because a hospital corrects headers with it.
        """
        return [self._identify(pseudonymize(image, self.key)) for image in images]

    def _identify(self, image: LabeledImage) -> LabeledImage:
        patient = self.patients.get(image.image_sha256)
        if patient is None:
            return image
        others = (name for name in image.patient if not name.startswith(f"{PATIENT} "))
        return replace(image, patient=frozenset({*others, f"{PATIENT} {patient}"}))


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One row of the CSV file.

    Attributes:
        number: number of the row's last line in the file.
        names: the cells of the columns ``path`` and ``sha256`` that the file has.
        image_sha256: sha256 of the image that the row names, or ``None`` if there is no such image.
        patient: pseudonym of the patient, or ``None`` if the cell is empty.
        is_mangled: whether a program wrote the cell of the patient in another form, such as ``1.2E+11`` or ``#N/A``.
    """

    number: int
    names: tuple[str, ...]
    image_sha256: str | None
    patient: str | None = field(repr=False)
    is_mangled: bool


def read_patient_table(
    path: Path, files: Mapping[str, str], *, key: bytes, column: str = COLUMN, where: str
) -> PatientTable:
    """Return the table of patients of a CSV file.

    Args:
        path: the CSV file, with a header. The column ``path`` or ``sha256`` names the image. If the file has both
            columns, ``path`` is used where ``sha256`` is empty.
        files: sha256 of each image file by its path below the labeled folder.
        key: secret key of the pseudonyms.
        column: name of the column with the patient.
        where: name of the labeled folder, for error messages.

    Raises:
        DatasetError: the file cannot be read or lacks a column. Or a row has no image or no patient, or repeats another
            row. Or an image has two patients. The message names counts and row numbers, and no patient.
    """
    rows = _rows(path, files, key=key, column=column)
    by_image: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.image_sha256 and row.patient:
            by_image[row.image_sha256].add(row.patient)
    seen: set[tuple[str, ...]] = set()
    mistakes: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row.image_sha256 is None:
            mistakes[f"name no image of {where}"].append(row.number)
        elif row.patient is None:
            mistakes["have no patient"].append(row.number)
        elif row.is_mangled:
            mistakes["have a patient that a program changed, such as 1.2E+11, 123.0 or #N/A"].append(row.number)
        elif len(by_image[row.image_sha256]) > 1:
            mistakes["give one image two patients"].append(row.number)
        elif row.names in seen:
            mistakes["repeat an earlier row"].append(row.number)
        seen.add(row.names)
    if mistakes:
        found = " ".join(f"{len(numbers)} rows {what} (rows {_listed(numbers)})." for what, numbers in mistakes.items())
        raise DatasetError(
            f"The table of patients {path} needs one row for each image that it names, with its patient. {found} "
            "Row 1 is the header. Correct or remove these rows."
        )
    return PatientTable(key=key, patients={image: next(iter(patients)) for image, patients in by_image.items()})


def load_patient_table(
    store: ObjectStore, entries: Iterable[ObjectEntry], key: str | None, *, where: str
) -> PatientTable | None:
    """Return the stored patients of all images of a listing, or ``None`` if the listing has no table.

    Each upload stores a table, and folders below the prefix have tables of their own. The function merges all tables.

    Args:
        store: the object store.
        entries: the listing of the dataset's S3 prefix.
        key: secret key of the pseudonyms. ``None`` if the settings have none.
        where: the S3 prefix, for error messages.

    Raises:
        DatasetError: a table is invalid, or its pseudonyms have another key. Or an image has two patients.
    """
    tables = _stored_tables(store, entries, key.encode() if key else None).values()
    return reduce(partial(_merge, where=where), tables) if tables else None


def store_patient_table(store: ObjectStore, prefix: S3Uri, table: PatientTable, *, replaces: bool) -> PatientTable:
    """Store the new rows of an upload's table in an object of their own, and return all rows of the prefix.

    Args:
        store: the object store.
        prefix: the S3 prefix of the upload.
        table: the patients of the uploaded images.
        replaces: whether ``table`` replaces stored patients that differ. Otherwise a difference is an error.

    Raises:
        DatasetError: a stored table is invalid, or its pseudonyms have another key. Or a stored table names another
            patient for an image, and ``replaces`` is false.
    """
    stored = _stored_tables(store, store.list(prefix / "."), table.key)
    kept = stored
    if replaces:
        kept = {uri: _select(one, lambda i, p: table.patients.get(i, p) == p) for uri, one in stored.items()}
    known = reduce(partial(_merge, where=str(prefix)), kept.values(), replace(table, patients={}))
    merged = _merge(known, table, where=str(prefix))
    added = _select(table, lambda i, _: i not in known.patients)
    if added.patients:
        _write(store, prefix / f".{token_hex(8)}{TABLE}", added)
    _rewrite(store, stored, kept)
    return merged


def without_patient(
    store: ObjectStore, entries: Iterable[ObjectEntry], key: bytes, *, patient: str, images: set[str]
) -> list[str]:
    """Delete one patient from the stored tables of a listing, and return the addresses of the changed tables.

    Args:
        store: the object store.
        entries: the listing of the dataset's S3 prefix.
        key: secret key of the pseudonyms.
        patient: pseudonym of the patient.
        images: sha256 of other images to delete from the tables.
    """
    stored = _stored_tables(store, entries, key)
    kept = {uri: _select(table, lambda i, p: p != patient and i not in images) for uri, table in stored.items()}
    return _rewrite(store, stored, kept)


def _stored_tables(store: ObjectStore, entries: Iterable[ObjectEntry], key: bytes | None) -> dict[S3Uri, PatientTable]:
    """Return the tables of a listing by their address."""
    names = ((entry, entry.key.rpartition("/")[2]) for entry in entries)
    uris = [S3Uri(bucket=e.bucket, key=e.key) for e, name in names if name.startswith(".") and name.endswith(TABLE)]
    return {uri: _read(store, uri, key) for uri in uris}


def _merge(stored: PatientTable, added: PatientTable, *, where: str) -> PatientTable:
    """Return the patients of two tables with the same key.

    Raises:
        DatasetError: an image has different patients in the tables.
    """
    count = sum(stored.patients.get(image, patient) != patient for image, patient in added.patients.items())
    if count:
        raise DatasetError(
            f"{count} images have another patient in the table that is stored in {where}. One image has one patient. "
            "Correct the new table, or upload it with --replace-patients if the stored one is wrong."
        )
    return replace(stored, patients={**stored.patients, **added.patients})


def _select(table: PatientTable, keeps: Callable[[str, str], bool]) -> PatientTable:
    """Return the rows of a table for which ``keeps(image_sha256, patient)`` is true."""
    return replace(
        table, patients={image: patient for image, patient in table.patients.items() if keeps(image, patient)}
    )


def _rewrite(store: ObjectStore, stored: Mapping[S3Uri, PatientTable], kept: Mapping[S3Uri, PatientTable]) -> list[str]:
    """Write the tables of which ``kept`` has fewer rows than ``stored``, and return their addresses."""
    changed = [uri for uri, table in stored.items() if kept[uri].patients != table.patients]
    for uri in changed:
        _write(store, uri, kept[uri])
    return [str(uri) for uri in changed]


def _write(store: ObjectStore, uri: S3Uri, table: PatientTable) -> None:
    stored = _Stored(key_mark=key_mark(table.key), patients=dict(sorted(table.patients.items())))
    store.write(uri, stored.model_dump_json(indent=0).encode(), content_type="application/json")


def _read(store: ObjectStore, uri: S3Uri, key: bytes | None) -> PatientTable:
    data = store.read(uri)
    cannot = f"The stored table of patients {uri} cannot be used"
    try:
        stored = _Stored.model_validate_json(data)
    except ValidationError as exc:
        raise DatasetError(
            f"{cannot}: {exc.error_count()} entries are not as `dataset upload --patients` writes them. Delete the "
            "object, and upload the table again."
        ) from None
    if key is None or stored.key_mark != key_mark(key):
        received = "which is not set" if key is None else "and BRAINTUMOR_PSEUDONYM_KEY is another key"
        raise DatasetError(
            f"{cannot}: its pseudonyms were made with the key {stored.key_mark}, {received}. Set "
            "BRAINTUMOR_PSEUDONYM_KEY to that key. If it is lost, delete the object and upload the table again."
        )
    return PatientTable(key=key, patients=stored.patients)


def _rows(path: Path, files: Mapping[str, str], *, key: bytes, column: str) -> list[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            given = [name for name in ("path", "sha256") if name in (reader.fieldnames or [])]
            if not given or column not in (reader.fieldnames or []):
                raise DatasetError(
                    f"The table of patients {path} must have the columns path or sha256, and {column}, separated by "
                    f"commas. Received: {len(reader.fieldnames or [])} columns, not these. Correct the header, or name "
                    "the column of the patients with --patient-column."
                )
            images = {**files, **{digest: digest for digest in files.values()}}
            return [
                _Row(
                    number=reader.line_num,
                    names=(names := tuple((row[name] or "").strip() for name in given)),
                    image_sha256=images.get(names[-1].lower() if given[-1] == "sha256" and names[-1] else names[0]),
                    patient=pseudonym(row[column] or "", kind="patient", key=key),
                    is_mangled=_MANGLED.fullmatch((row[column] or "").strip()) is not None,
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a CSV in UTF-8"
        raise DatasetError(f"The table of patients {path} cannot be read: {reason}. Give a CSV file.") from None


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(map(str, numbers[:_SHOWN])) + more
