"""Test snapshots with a table of patients and with an exclusion list."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.patient_table import TABLE
from braintumor.dataset.snapshot import Snapshot, load_snapshot
from braintumor.dataset.splits import near_links
from braintumor.dataset.splits.split import Split
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.errors import ConfigurationError, DatasetError
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.labels import CLASSES, TUMORS, TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from tests.conftest import invoke, printed
from tests.sql import rows

PER_CLASS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_dataset(folder, per_class=PER_CLASS, seed=8)
    return folder


def patients_of(folder: Path) -> dict[Path, str]:
    """Return the patients of three quarters of the tumor images: two images of one class have one patient."""
    return {
        path: f"Doe^{label} {number // 2}"
        for label in TUMORS
        for number, path in enumerate(sorted((folder / label).iterdir()))
        if number < PER_CLASS * 3 // 4
    }


def written(path: Path, header: str, lines: Iterable[Iterable[str]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *lines])
    return path


@pytest.fixture
def table(folder: Path, tmp_path: Path) -> Path:
    given = ((path.relative_to(folder).as_posix(), patient) for path, patient in patients_of(folder).items())
    return written(tmp_path / "patients.csv", "path,patient", given)


def uploaded(settings: Settings, folder: Path, *options: str) -> str:
    return printed(settings, "dataset", "upload", str(folder), settings.require("dataset_uri"), *options)


def splits_by_patient(snapshot: Snapshot, folder: Path) -> dict[str, set[Split]]:
    split_of = {image.image_sha256: image.split for image in snapshot.images}
    found = defaultdict(set)
    for path, patient in patients_of(folder).items():
        found[patient].add(split_of[sha256(path.read_bytes()).hexdigest()])
    return found


def test_a_patients_images_are_in_one_split(empty_settings: Settings, folder: Path, table: Path) -> None:
    said = uploaded(empty_settings, folder, "--patients", str(table))
    assert (
        f"{4 * PER_CLASS} images" in said
        and "The patient is known for 45 of them: 24 patients, one of them with 2 images" in said
    )
    with patch.object(near_links, "near_pairs", wraps=near_links.near_pairs) as search:
        snapshot = snapshot_of(empty_settings)
    assert search.call_count == 1, "the quality check and the split share the search for near-duplicates"
    splits = splits_by_patient(snapshot, folder)
    assert len(splits) == 24 and all(len(each) == 1 for each in splits.values())
    assert load_snapshot(database.connect(empty_settings), snapshot.snapshot_id) == snapshot
    assert snapshot_of(empty_settings) == snapshot


def test_test_images_have_a_patient_except_in_exempt_classes(
    empty_settings: Settings, folder: Path, table: Path
) -> None:
    uploaded(empty_settings, folder, "--patients", str(table))
    snapshot = snapshot_of(empty_settings)
    test = snapshot.of_split(Split.TEST)
    assert all(image.has_patient for image in test if image.label is not TumorClass.NORMAL)
    assert {image.label for image in test} == set(CLASSES), "no normal image has a patient, and test has the class"
    ids = snapshot.identified
    assert ids is not None and ids.exempt == (TumorClass.NORMAL,)
    without = [i for i in snapshot.images if i.label is not TumorClass.NORMAL and not i.has_patient]
    assert ids.count_kept_from_test == len(without) > 0
    words = f"{len(without)} images without a patient are kept out of the test split. Images of normal may enter it"
    models = S3Uri.parse(empty_settings.require("models_uri"))
    page = ObjectStore.connect(empty_settings).read(models / f"snapshots/{snapshot.snapshot_id}.html").decode()
    assert words in page and words in printed(empty_settings, "dataset", "snapshot")


def test_setting_lets_images_without_patient_into_test(empty_settings: Settings, folder: Path, table: Path) -> None:
    uploaded(empty_settings, folder, "--patients", str(table))
    with pytest.raises(ConfigurationError, match=r"must be yes or no\. Received: 'true'"):
        snapshot_of(replace(empty_settings, unidentified_in_test="true"))
    snapshot = snapshot_of(replace(empty_settings, unidentified_in_test="yes"))
    assert snapshot.identified is not None and snapshot.identified.count_kept_from_test is None
    assert "kept out" not in snapshot.identified.claim


def test_class_of_one_patient_is_refused_with_the_rule(empty_settings: Settings, folder: Path, tmp_path: Path) -> None:
    lines = [[path.relative_to(folder).as_posix(), "Doe^One"] for path in sorted((folder / "glioma").iterdir())[:18]]
    table = written(tmp_path / "patients.csv", "path,patient", lines)
    uploaded(empty_settings, folder, "--patients", str(table))
    with pytest.raises(DatasetError, match=r"no images of glioma in test.* 2 images without a patient are kept out"):
        snapshot_of(empty_settings)


def test_manifest_has_the_groups_of_the_newest_taking(empty_settings: Settings, folder: Path, tmp_path: Path) -> None:
    uploaded(empty_settings, folder)
    first = snapshot_of(empty_settings)
    train = [image for image in first.of_split(Split.TRAIN) if image.label is TumorClass.GLIOMA][:2]
    lines = [[image.image_sha256, "Doe^Jane"] for image in train]
    uploaded(empty_settings, folder, "--patients", str(written(tmp_path / "table.csv", "sha256,patient", lines)))
    again = snapshot_of(replace(empty_settings, unidentified_in_test="yes"))
    assert again.snapshot_id == first.snapshot_id and again.count_group == first.count_group - 1
    models = S3Uri.parse(empty_settings.require("models_uri"))
    manifest = ObjectStore.connect(empty_settings).read(models / f"snapshots/{again.snapshot_id}.csv").decode()
    groups = {row["image_sha256"]: row["group_key"] for row in csv.DictReader(manifest.splitlines())}
    assert groups == {image.image_sha256: image.group_key for image in again.images}


def test_class_of_few_patients_fills_every_split(empty_settings: Settings, folder: Path, tmp_path: Path) -> None:
    def patients(count: int) -> str:
        lines = [
            [path.relative_to(folder).as_posix(), f"Doe^{label} {number % count}"]
            for label in CLASSES
            for number, path in enumerate(sorted((folder / label).iterdir()))
        ]
        return str(written(tmp_path / "table.csv", "path,patient", lines))

    uploaded(empty_settings, folder, "--patients", patients(2))
    with pytest.raises(
        DatasetError, match=r"Each class needs 3 groups or more\. Received: \{'glioma': 2, .*"
    ) as caught:
        snapshot_of(empty_settings)
    assert "keeps its split forever" not in str(caught.value)
    uploaded(empty_settings, folder, "--patients", patients(4), "--replace-patients")
    counts = snapshot_of(empty_settings).counts()
    assert counts == {"train": dict.fromkeys(CLASSES, 10)} | dict.fromkeys(
        ["validation", "test"], dict.fromkeys(CLASSES, 5)
    )


def test_table_survives_another_upload_and_splits_stay(
    empty_settings: Settings, folder: Path, table: Path, tmp_path: Path
) -> None:
    uploaded(empty_settings, folder, "--patients", str(table))
    first = snapshot_of(empty_settings)
    write_dataset(tmp_path / "more", per_class=4, seed=9)
    said = uploaded(empty_settings, tmp_path / "more")
    assert "16 images" in said and "patient" not in said
    second = snapshot_of(empty_settings)
    before = {image.image_sha256: (image.split, image.has_patient) for image in first.images}
    after = {image.image_sha256: (image.split, image.has_patient) for image in second.images}
    assert len(after) == len(before) + 16 and after.items() >= before.items()


def test_nothing_stored_or_printed_names_a_patient(
    empty_settings: Settings, folder: Path, table: Path, tmp_path: Path
) -> None:
    said = uploaded(empty_settings, folder, "--patients", str(table)) + printed(empty_settings, "dataset", "snapshot")
    store, prefix = ObjectStore.connect(empty_settings), S3Uri.parse(empty_settings.require("dataset_uri"))
    (uri,) = (S3Uri(bucket=e.bucket, key=e.key) for e in store.list(prefix) if e.key.endswith(TABLE))
    stored = store.read(uri).decode()
    assert "Doe" not in stored + said and len(json.loads(stored)["patients"]) == 45
    pseudonyms = set(json.loads(stored)["patients"].values())
    for name in ("snapshot", "snapshot_image"):
        found = str(rows(empty_settings, f"select * from {name}"))
        assert "Doe" not in found and not [each for each in pseudonyms if each in found]
    written(table, "path,patient", [["glioma/none.png", "Doe^Jane"]])
    done = invoke(empty_settings, "dataset", "upload", str(folder), str(prefix), "--patients", str(table))
    assert done.exit_code == 1 and done.stderr.startswith("braintumor: ") and "Doe" not in done.output
    assert [e.key for e in store.list(prefix) if e.key.endswith(TABLE)] == [uri.key]
    assert store.read(uri).decode() == stored


def test_validate_reports_the_share_with_a_patient(empty_settings: Settings, folder: Path, table: Path) -> None:
    offline = Settings()
    said = printed(offline, "dataset", "validate", str(folder), "--patients", str(table))
    assert "The patient is known for 4" in said and "glioma 15 of 20 (75%)" in said
    uploaded(empty_settings, folder, "--patients", str(table))
    values = json.loads(printed(empty_settings, "dataset", "validate", empty_settings.require("dataset_uri"), "--json"))
    assert values["images_with_patient"]["glioma"] == 15
    done = invoke(empty_settings, "dataset", "validate", "s3://a/b/", "--patients", str(table))
    assert done.exit_code == 2 and "--patients is for a local folder" in done.output


def test_late_table_excludes_training_images_of_test_patients(
    empty_settings: Settings, folder: Path, table: Path
) -> None:
    uploaded(empty_settings, folder)
    first = snapshot_of(empty_settings)
    uploaded(empty_settings, folder, "--patients", str(table))
    second = snapshot_of(empty_settings)
    before = {image.image_sha256: image.split for image in first.images}
    assert all(before[image.image_sha256] is image.split for image in second.images)
    excluded = [item for item in second.excluded if "linked to" in item.reason]
    assert len(first.images) - len(second.images) == len(excluded) > 0
    left = {image.image_sha256: image.split for image in second.images}
    found = defaultdict(set)
    for path, patient in patients_of(folder).items():
        if split := left.get(sha256(path.read_bytes()).hexdigest()):
            found[patient].add(split)
    assert all(len(each) == 1 for each in found.values())


class TestExclusionList:
    @pytest.fixture
    def first(self, empty_settings: Settings, folder: Path) -> Snapshot:
        uploaded(empty_settings, folder)
        return snapshot_of(empty_settings)

    def test_listed_images_are_excluded_and_recorded(
        self, empty_settings: Settings, first: Snapshot, tmp_path: Path
    ) -> None:
        listed = [image.image_sha256 for image in first.of_split(Split.TRAIN)[:2]]
        lines = [[listed[0].upper(), "a meningioma", "Dr. Roe"], [listed[1], "two lesions", "Dr. Roe"]]
        path = written(tmp_path / "list.csv", "sha256,reason,author", [*lines, ["0" * 64, "gone", "Dr. Roe"]])
        taken = json.loads(printed(empty_settings, "dataset", "snapshot", "--exclude", str(path), "--json"))
        snapshot = load_snapshot(database.connect(empty_settings), taken["snapshot_id"])
        kept = {image.image_sha256 for image in snapshot.images}
        assert kept == {image.image_sha256 for image in first.images} - set(listed)
        assert snapshot.excluded_by_reason() == {"on the exclusion list": 2}
        recorded = "select image_sha256, reason, author, count_file from snapshot_exclusion where snapshot_id = :id"
        assert set(rows(empty_settings, recorded, id=snapshot.snapshot_id)) == {
            (listed[0], "a meningioma", "Dr. Roe", 1),
            (listed[1], "two lesions", "Dr. Roe", 1),
        }
        models = S3Uri.parse(empty_settings.require("models_uri"))
        page = ObjectStore.connect(empty_settings).read(models / f"snapshots/{snapshot.snapshot_id}.html").decode()
        assert "Exclusion list" in page and "two lesions" in page and listed[1][:12] in page
        assert "2 of the 3 rows of the list name an image" in page and taken["exclusion_rows"] == [2, 3]
        said = printed(empty_settings, "dataset", "snapshot", "--exclude", str(path))
        assert "2 of 3 rows of the exclusion list name an image" in said
        again = snapshot_of(replace(empty_settings, label_exclusions=str(path)))
        assert again.snapshot_id == snapshot.snapshot_id, "the setting names the list of the retrain"

    @pytest.mark.parametrize(
        ("header", "line", "words"),
        [
            ("sha256,reason", ["0" * 64, "wrong"], "lacks the columns author"),
            ("sha256,reason,author", ["0" * 63, "wrong", "Roe"], "1 other rows, the first of them row 3"),
            ("sha256,reason,author", ["1" * 64, "", "Roe"], "1 other rows, the first of them row 3"),
            ("sha256,reason,author", ["f" * 64, "wrong", "Roe"], "2 other rows, the first of them row 2"),
        ],
    )
    def test_invalid_list_is_refused_with_its_row(
        self, empty_settings: Settings, tmp_path: Path, header: str, line: list[str], words: str
    ) -> None:
        path = written(tmp_path / "list.csv", header, [["f" * 64, "wrong", "Roe"][: len(line)], line])
        with pytest.raises(DatasetError, match=words):
            snapshot_of(empty_settings, exclusion_list=path)
