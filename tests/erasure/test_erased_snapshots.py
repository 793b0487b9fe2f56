"""Test that snapshots contain no image of an erased person."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.dataset.images.patient_table import TABLE, PatientTable, load_patient_table, store_patient_table
from braintumor.dataset.labeled_files import read_labeled_files
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.errors import ObjectStoreUnreachableError
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from devstack.stack import Stack
from tests.erasure.erased_files import as_eraser, as_png, changed, found_in_database, of_two_frames, pydicom_of
from tests.sql import change, rows


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 20 labeled phantoms per class. None is in the seeded snapshot, because a test erases one."""
    folder = tmp_path_factory.mktemp("labeled")
    write_dataset(folder, per_class=20, seed=5)
    return folder


def test_erased_person_is_excluded_from_later_snapshots(
    stack: Stack, scored: Settings, files: list[bytes], labeled: Path
) -> None:
    dataset = S3Uri.parse(scored.require("dataset_uri"))
    store = ObjectStore.connect(scored)
    upload(store, labeled_files(labeled), dataset)
    before = {image.image_sha256 for image in snapshot_of(scored).images}
    assert sha256(files[0]).hexdigest() in before
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, scored, ann, with_objects=False)
    decoded = decode(files[1])
    assert isinstance(decoded, Decoded)
    returning = {
        "glioma/again.dcm": files[0],  # the file of the snapshot
        "glioma/scan.dcm": files[1],  # the file of a scan that was in no snapshot
        "glioma/other.dcm": files[2],  # a new file
        "glioma/same-pixels.png": as_png(decoded.frames[0].pixels),
        "glioma/no-patient.dcm": changed(
            files[2], PatientID="", StudyInstanceUID=pydicom_of(files[0]).StudyInstanceUID
        ),
    }
    for name, data in {**returning, "glioma/ben.dcm": files[3]}.items():
        store.write(dataset / name, data)
    after = snapshot_of(scored)
    shas = {image.image_sha256 for image in after.images}
    assert shas == before - {sha256(files[0]).hexdigest()} | {sha256(files[3]).hexdigest()}
    refused = [item for item in after.excluded if "erased" in item.reason]
    assert len(refused) == len(returning) + 1, "the first file is still in S3"
    assert {(item.image_uri, item.image_sha256) for item in refused} == {("(not named)", "")}
    words = [sha256(data).hexdigest() for data in returning.values()]
    assert [table for table, _ in found_in_database(scored, words)] == []
    done = as_eraser(stack, scored, ann)
    assert {uri.rpartition("/")[2] for uri in done.object_uris} >= {name.rpartition("/")[2] for name in returning}
    assert not [item for item in snapshot_of(scored).excluded if "erased" in item.reason]


def test_image_of_a_patient_in_the_table_is_erased(
    stack: Stack, scored: Settings, labeled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, store = S3Uri.parse(scored.require("dataset_uri")), ObjectStore.connect(scored)
    upload(store, labeled_files(labeled), dataset)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    first, second, *_ = sorted((labeled / "glioma").glob("*.png"))
    anns, other = (sha256(path.read_bytes()).hexdigest() for path in (first, second))
    key = scored.require("pseudonym_key").encode()
    table = PatientTable(key=key, patients={anns: ann, other: "0" * 32})
    store_patient_table(store, dataset, table, replaces=False)
    listed: list[S3Uri] = []
    real = ObjectStore.list

    def count(self: ObjectStore, prefix: S3Uri) -> Iterator[ObjectEntry]:
        listed.append(prefix)
        return real(self, prefix)

    monkeypatch.setattr(ObjectStore, "list", count)
    before = {image.image_sha256 for image in snapshot_of(scored).images}
    assert {anns, other} <= before and listed.count(dataset) == 1
    listed.clear()
    done = as_eraser(stack, scored, ann)
    assert listed.count(dataset) == 1
    assert len([uri for uri in done.removed if uri.endswith(TABLE)]) == 1
    assert f"{dataset}glioma/{first.name}" in done.object_uris
    left = load_patient_table(store, store.list(dataset), key.decode(), where=str(dataset))
    assert left is not None and left.patients == {other: "0" * 32}
    assert rows(scored, "select count(*) from snapshot_image where image_sha256 = :one", one=anns) == [(0,)]
    store_patient_table(store, dataset, table, replaces=False)  # the hospital uploads it again, with another file
    again = first.read_bytes() + b"another end"
    store.write(dataset / "glioma/again.png", again)
    named = PatientTable(key=key, patients={sha256(again).hexdigest(): ann})
    store_patient_table(store, dataset, named, replaces=False)
    after = snapshot_of(scored)
    assert {sha256(again).hexdigest(), anns}.isdisjoint(image.image_sha256 for image in after.images)


def test_images_of_snapshots_of_other_prefixes_are_erased(
    stack: Stack, scored: Settings, files: list[bytes], labeled: Path
) -> None:
    store = ObjectStore.connect(scored)
    dataset = S3Uri.parse(scored.require("dataset_uri"))
    ward = S3Uri(bucket=dataset.bucket, key=dataset.key.removesuffix("dataset/") + "ward-b/")
    upload(store, labeled_files(labeled), ward)
    store.write(ward / "glioma/other.dcm", files[2])
    image = min((labeled / "glioma").glob("*.png"))
    theirs = {sha256(data).hexdigest() for data in (image.read_bytes(), files[2])}
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    key = scored.require("pseudonym_key").encode()
    table = PatientTable(key=key, patients={sha256(image.read_bytes()).hexdigest(): ann})
    store_patient_table(store, ward, table, replaces=False)
    taken = snapshot_of(scored, str(ward))
    assert theirs <= {each.image_sha256 for each in taken.images}
    record = """
        insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out)
        values (:uri, :uri, 1, 0, '[]')"""
    for other in (ward / "glioma/", "s3://a-deleted-bucket/ward-a/"):
        change(scored, record, uri=str(other))
    done = as_eraser(stack, scored, ann)
    assert taken.snapshot_id in done.snapshot_ids
    assert {str(ward / "glioma/other.dcm"), str(ward / f"glioma/{image.name}")} <= set(done.object_uris)
    assert rows(scored, "select 1 from snapshot_image where image_sha256 = any(:theirs)", theirs=list(theirs)) == []
    assert list(store.list(ward / "glioma/other.dcm")) == []
    left = load_patient_table(store, store.list(ward), key.decode(), where=str(ward))
    assert left is not None and left.patients == {}
    assert done.unread_uris == ("s3://a-deleted-bucket/ward-a/",)


def test_image_below_two_prefixes_is_read_once(scored: Settings, files: list[bytes]) -> None:
    store, dataset = ObjectStore.connect(scored), S3Uri.parse(scored.require("dataset_uri"))
    change(scored, "update snapshot set source_uri = :uri", uri=f"{dataset}glioma/")
    engine = database.connect(scored)
    with database.transaction(engine) as connection:
        read = read_labeled_files(connection, store, dataset, key=None)
    engine.dispose()
    assert [image.image_sha256 for image in read.images] == [sha256(files[0]).hexdigest()]
    assert list(read.etags) == [f"{dataset}glioma/ann-1.dcm"]
    assert (read.unread, read.unlisted) == ([], [])


@pytest.mark.parametrize("with_objects", [False, True])
def test_excluded_files_of_the_person_are_erased(
    stack: Stack, scored: Settings, files: list[bytes], labeled: Path, with_objects: bool
) -> None:
    dataset, store = S3Uri.parse(scored.require("dataset_uri")), ObjectStore.connect(scored)
    upload(store, labeled_files(labeled), dataset)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    named = b"\x89PNG\r\n\x1a\n damaged"
    theirs = {
        "glioma/DOE_ANN.dcm": changed(files[2], BurnedInAnnotation="YES"),
        "glioma/DOE_ANN-2.dcm": of_two_frames(files[2]),
        "glioma/DOE_ANN-3.png": named,
    }
    ben = changed(files[3], BurnedInAnnotation="YES")
    for name, data in {**theirs, "glioma/ben.dcm": ben}.items():
        store.write(dataset / name, data)
    key = scored.require("pseudonym_key").encode()
    table = PatientTable(key=key, patients={sha256(named).hexdigest(): ann})
    store_patient_table(store, dataset, table, replaces=False)
    reasons = {
        item.image_uri.rpartition("/")[2]: item.reason.partition(":")[0] for item in snapshot_of(scored).excluded
    }
    assert reasons == {
        "DOE_ANN.dcm": "burned_in_annotation",
        "DOE_ANN-2.dcm": "multi_frame",
        "DOE_ANN-3.png": "truncated",
        "ben.dcm": "burned_in_annotation",
    }
    done = as_eraser(stack, scored, ann, with_objects=with_objects)
    assert {str(dataset / name) for name in theirs} <= set(done.object_uris)
    left = {entry.key.rpartition("/")[2] for entry in store.list(dataset / "glioma/DOE")}
    assert left == (set() if with_objects else {name.partition("/")[2] for name in theirs})
    assert [entry.key for entry in store.list(dataset / "glioma/ben")] == [f"{dataset.key}glioma/ben.dcm"]
    assert rows(scored, "select count(*) from snapshot where left_out::text like '%DOE%'") == [(0,)]
    again = snapshot_of(scored).excluded
    assert [item.image_uri for item in again if "erased" not in item.reason] == [f"{dataset}glioma/ben.dcm"]
    assert len([item for item in again if "erased" in item.reason]) == (0 if with_objects else 4)


def test_erasure_interrupted_at_each_s3_change_is_completed(
    stack: Stack, scored: Settings, labeled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, store = S3Uri.parse(scored.require("dataset_uri")), ObjectStore.connect(scored)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    image = min((labeled / "glioma").glob("*.png")).read_bytes()
    store.write(dataset / "glioma/ann.png", image)
    key = scored.require("pseudonym_key").encode()
    store_patient_table(
        store, dataset, PatientTable(key=key, patients={sha256(image).hexdigest(): ann}), replaces=False
    )
    allowed = 0

    def limited(name: str) -> None:
        real = getattr(ObjectStore, name)

        def change(self: ObjectStore, *args: object, **values: object) -> object:
            nonlocal allowed
            if not allowed:
                raise ObjectStoreUnreachableError("interrupted by the test")
            allowed -= 1
            return real(self, *args, **values)

        monkeypatch.setattr(ObjectStore, name, change)

    limited("write")
    limited("delete")
    for attempt in range(20):
        allowed = attempt
        try:
            as_eraser(stack, scored, ann)
        except ObjectStoreUnreachableError:
            continue
        break
    assert 2 < attempt < 19
    left = {entry.key.rpartition("/")[2] for entry in store.list(S3Uri.parse(scored.require("scans_uri")))}
    assert left == {"ben.dcm"} and [entry for entry in store.list(dataset) if not entry.key.endswith(TABLE)] == []
    table = load_patient_table(store, store.list(dataset), key.decode(), where=str(dataset))
    assert table is None or table.patients == {}
    assert rows(scored, "select * from erasure_object") == []
    assert rows(scored, "select scan_id from scan_location") == [(3,)]
