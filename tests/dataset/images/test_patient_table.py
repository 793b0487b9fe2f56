"""Test that tables of patients are read, stored under pseudonyms and merged, and that no error names a patient."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.patient_table import (
    TABLE,
    PatientTable,
    load_patient_table,
    read_patient_table,
    store_patient_table,
    without_patient,
)
from braintumor.errors import DatasetError
from braintumor.imaging.pseudonym import pseudonym
from braintumor.labels import TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from tests.images import labeled_image

KEY = b"secret of the tests"
FILES = {f"glioma/{name}.jpg": sha256(name.encode()).hexdigest() for name in "abc"}
A, B, C = FILES.values()


def of(patient: str, key: bytes = KEY) -> str:
    """Return the pseudonym of a patient number."""
    return str(pseudonym(patient, kind="patient", key=key))


def load(store: ObjectStore, prefix: S3Uri, key: str | None = KEY.decode()) -> PatientTable | None:
    return load_patient_table(store, store.list(prefix), key, where=str(prefix))


def read(tmp_path: Path, text: str, *, column: str = "patient") -> PatientTable:
    path = tmp_path / "patients.csv"
    path.write_text(text, encoding="utf-8")
    return read_patient_table(path, FILES, key=KEY, column=column, where="the folder")


@pytest.mark.parametrize(
    "text",
    [
        "path,patient\nglioma/a.jpg,ann\nglioma/b.jpg,ben\n",
        f"sha256,patient\n{A},ann\n{B.upper()},ben\n",
        f"path,sha256,patient\nglioma/a.jpg,,ann\nelsewhere,{B},ben\n",
        f"\ufeffpath,ward,sha256,patient\nglioma/a.jpg,3,{A},ann\na copy of it,3,{A},ann \nelsewhere,4,{B},ben\n",
    ],
    ids=["path", "sha256", "path where sha256 is empty", "both, of copies too"],
)
def test_rows_give_pseudonyms_by_file_hash(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).patients == {A: of("ann"), B: of("ben")}


def test_patient_column_can_have_another_name(tmp_path: Path) -> None:
    text = "path,patient,person\nglioma/a.jpg,7b,7\n"
    assert read(tmp_path, text, column="person").patients == {A: of("7")}


def test_blanks_and_no_break_spaces_around_a_number_are_ignored(tmp_path: Path) -> None:
    text = "path,patient\nglioma/a.jpg,0012345\u00a0\nglioma/b.jpg, 0012345\n"
    assert read(tmp_path, text).patients == {A: of("0012345"), B: of("0012345")}
    assert list(read(tmp_path, "path,patient\nglioma/a.jpg,1E5-7\n").patients.values()) == [of("1E5-7")]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["glioma/a.jpg,ann", "glioma/z.jpg,ann"], "1 rows name no image of the folder (rows 3)"),
        (["glioma/a.jpg,ann", "glioma/b.jpg,ben", "glioma/a.jpg,ann"], "1 rows repeat an earlier row (rows 4)"),
        (["glioma/a.jpg,ann", "glioma/a.jpg,ben"], "2 rows give one image two patients (rows 2, 3)"),
        (["glioma/a.jpg, ", "glioma/b.jpg"], "2 rows have no patient (rows 2, 3)"),
        (
            ["glioma/a.jpg,1.23457E+11", 'glioma/b.jpg,"1,2e+11"', "glioma/c.jpg,12345.0"],
            "3 rows have a patient that a program changed, such as 1.2E+11, 123.0 or #N/A (rows 2, 3, 4)",
        ),
        (
            ["glioma/a.jpg,#N/A", "glioma/b.jpg, #VALUE! ", "glioma/c.jpg,nan"],
            "3 rows have a patient that a program changed, such as 1.2E+11, 123.0 or #N/A (rows 2, 3, 4)",
        ),
        ([f"{n}.jpg,ann" for n in range(12)], "12 rows name no image of the folder (rows 2, 3, 4, 5, 6, 7, 8, 9, 10, "),
    ],
)
def test_wrong_rows_are_counted_and_numbered(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, "\n".join(["path,patient", *rows]))
    assert words in str(caught.value)
    assert not [name for name in ("ann", "ben", "glioma/") if name in str(caught.value)]


@pytest.mark.parametrize("text", ["glioma/a.jpg,ann\n", "path;patient\nglioma/a.jpg;ann\n", "", "path,person\nx,ann\n"])
def test_missing_columns_are_refused_without_names(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match="must have the columns path or sha256, and patient") as caught:
        read(tmp_path, text)
    assert "ann" not in str(caught.value) and "glioma" not in str(caught.value)


def test_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: No such file"):
        read_patient_table(tmp_path / "none.csv", FILES, key=KEY, where="x")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DatasetError, match="cannot be read: it is not a CSV in UTF-8"):
        read_patient_table(tmp_path / "sheet.xlsx", FILES, key=KEY, where="x")


def test_table_replaces_the_patient_of_the_header() -> None:
    pixels = np.full((64, 64), 9, np.uint8)
    image = labeled_image(pixels, "a", TumorClass.GLIOMA, patient=frozenset({"patient ANONYMOUS", "study 1.2"}))
    table = PatientTable(key=KEY, patients={image.image_sha256: of("ann")})
    (known,) = table.identify([image])
    study = pseudonym("1.2", kind="study", key=KEY)
    assert known.patient == {f"patient {of('ann')}", f"study {study}"} and known.has_patient
    (other,) = PatientTable(key=KEY, patients={}).identify([image])
    assert other.patient == {f"patient {of('ANONYMOUS')}", f"study {study}"}


class TestStored:
    @pytest.fixture
    def store(self, empty_settings: Settings) -> ObjectStore:
        return ObjectStore.connect(empty_settings)

    @pytest.fixture
    def prefix(self, empty_settings: Settings) -> S3Uri:
        return S3Uri.parse(empty_settings.require("dataset_uri"))

    def put(self, store: ObjectStore, prefix: S3Uri, *, replaces: bool = False, **patients: str) -> PatientTable:
        named = {FILES[f"glioma/{name}.jpg"]: of(patient) for name, patient in patients.items()}
        return store_patient_table(store, prefix, PatientTable(key=KEY, patients=named), replaces=replaces)

    def test_later_upload_adds_and_conflict_is_refused(self, store: ObjectStore, prefix: S3Uri) -> None:
        assert load(store, prefix) is None
        self.put(store, prefix, a="ann", b="ben")
        assert self.put(store, prefix, b="ben", c="ben").patients == {A: of("ann"), B: of("ben"), C: of("ben")}
        with pytest.raises(DatasetError, match=r"^2 images have another patient.*--replace-patients") as caught:
            self.put(store, prefix, a="ben", b="ann", c="ben")
        assert of("ann") not in str(caught.value)
        table = load(store, prefix)
        assert table is not None and table.patients == {A: of("ann"), B: of("ben"), C: of("ben")}
        self.put(store, prefix, a="ben", replaces=True)
        table = load(store, prefix)
        assert table is not None and table.patients == dict.fromkeys((A, B, C), of("ben"))
        stored = {entry.key for entry in store.list(prefix)}
        self.put(store, prefix, a="ben", b="ben")
        assert {entry.key for entry in store.list(prefix)} == stored, "no row is new"

    @pytest.mark.parametrize("replaces", [False, True])
    def test_uploads_at_the_same_time_keep_all_rows(
        self, store: ObjectStore, prefix: S3Uri, monkeypatch: pytest.MonkeyPatch, replaces: bool
    ) -> None:
        self.put(store, prefix, a="ann")
        write = ObjectStore.write

        def write_after_other(*values: Any, **named: Any) -> None:
            monkeypatch.setattr(ObjectStore, "write", write)
            self.put(store, prefix, b="ben")
            write(*values, **named)

        monkeypatch.setattr(ObjectStore, "write", write_after_other)
        self.put(store, prefix, a="ben" if replaces else "ann", c="ben", replaces=replaces)
        table = load(store, prefix)
        assert table is not None
        assert table.patients == {A: of("ben" if replaces else "ann"), B: of("ben"), C: of("ben")}

    def test_contradiction_of_simultaneous_uploads_can_be_corrected(self, store: ObjectStore, prefix: S3Uri) -> None:
        self.put(store, prefix, a="ann", b="ann")
        (first,) = store.list(prefix)
        data = store.read(S3Uri(bucket=first.bucket, key=first.key))
        store.write(prefix / f".other{TABLE}", data.replace(of("ann").encode(), of("ben").encode()))
        with pytest.raises(DatasetError, match=r"^2 images have another patient"):
            load(store, prefix)
        with pytest.raises(DatasetError, match=r"^1 images have another patient"):
            self.put(store, prefix, a="ben", replaces=True)
        self.put(store, prefix, a="ben", b="ann", replaces=True)
        table = load(store, prefix)
        assert table is not None and table.patients == {A: of("ben"), B: of("ann")}

    def test_tables_of_folders_are_merged(self, store: ObjectStore, prefix: S3Uri) -> None:
        self.put(store, prefix / "one/", a="ann")
        self.put(store, prefix / "two/", b="ben")
        table = load(store, prefix)
        assert table is not None and table.patients == {A: of("ann"), B: of("ben")}
        self.put(store, prefix / "two/", a="ben")
        with pytest.raises(DatasetError, match="1 images have another patient"):
            load(store, prefix)

    @pytest.mark.parametrize(("key", "words"), [("other", "is another key"), (None, "which is not set")])
    def test_another_key_is_refused(self, store: ObjectStore, prefix: S3Uri, key: str | None, words: str) -> None:
        self.put(store, prefix, a="ann")
        with pytest.raises(DatasetError, match=words) as caught:
            load(store, prefix, key)
        assert KEY.decode() not in str(caught.value)

    def test_invalid_table_is_refused_without_content(self, store: ObjectStore, prefix: S3Uri) -> None:
        store.write(prefix / TABLE, b'{"key_mark": "", "patients": {"Roe^7": "Doe^8"}}')
        with pytest.raises(DatasetError, match="2 entries are not as") as caught:
            load(store, prefix)
        assert "Roe" not in str(caught.value) and "Doe" not in str(caught.value)

    def test_one_patient_is_deleted_from_all_tables(self, store: ObjectStore, prefix: S3Uri) -> None:
        self.put(store, prefix / "one/", a="ann", b="ben")
        self.put(store, prefix / "two/", c="ben")
        changed = without_patient(store, store.list(prefix), KEY, patient=of("ann"), images={C})
        assert [uri.removeprefix(str(prefix)).rpartition("/")[0] for uri in changed] == ["one", "two"]
        table = load(store, prefix)
        assert table is not None and table.patients == {B: of("ben")}
