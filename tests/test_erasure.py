# ruff: noqa: E501
from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.dataset.erased_subjects import IMAGES, writing_images
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.dataset.images.patient_table import (
    TABLE,
    PatientTable,
    load_patient_table,
    store_patient_table,
)
from braintumor.dataset.take_snapshot import snapshot_of
from braintumor.db import database
from braintumor.erasure import Erasure, erase, erased_objects
from braintumor.errors import DatabaseError, ErasureError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.report.publish import publish_report
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.preview.job import make_preview
from braintumor.registry import model_versions
from braintumor.reports.paths import publish_page, write_page
from braintumor.rescoring.job import Rescore
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import count_balance
from devstack.stack import Stack
from tests.conftest import as_role, invoke, printed
from tests.dicom_files import as_patient
from tests.sql import change, rows


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    """Four DICOM files: three of Ann, the last of Ben."""
    found = [path for path in write_unlabeled(tmp_path, count=80, seed=4) if path.suffix == ".dcm"]
    return [as_patient(path, patient) for path, patient in zip(found, ["ANN", "ANN", "ANN", "BEN"], strict=False)]


@pytest.fixture
def scored(settings: Settings, put: Callable[[str, bytes], None], files: list[bytes]) -> Iterator[Settings]:
    """Score two scans of Ann and one of Ben, with own prefixes for models and labeled images."""
    own = settings.require("scans_uri")
    settings = replace(settings, models_uri=f"{own}models/", dataset_uri=f"{own}dataset/")
    own_settings = replace(settings, scans_uri=f"{own}scans/")
    for name, data in zip(("ann-1", "ann-2", "ben"), (files[0], files[1], files[3]), strict=True):
        put(f"scans/{name}.dcm", data)
    put("dataset/glioma/ann-1.dcm", files[0])
    run_scoring_job(own_settings, run_key="night")
    yield own_settings


def leave_traces(scored: Settings, ann: bytes) -> None:
    """Insert all other data about scans: reviews, shadow predictions, a rescore, a snapshot, pages."""
    digest, store, models = (
        sha256(ann).hexdigest(),
        ObjectStore.connect(scored),
        S3Uri.parse(scored.require("models_uri")),
    )
    for statement in _TRACES.split(";\n"):
        change(scored, statement, digest=digest, uri=scored.require("dataset_uri") + "glioma/ann-1.dcm")
    engine = database.connect(scored)
    for scan_id in (1, 3):
        page = f"<h3>Scan {scan_id}: a to b</h3>"
        publish_page(engine, store, models / f"runs/of-{scan_id}/flip_preview.html", page, scan_ids=[scan_id])
    page = f"<figcaption>{digest[:12]}</figcaption>"
    publish_page(engine, store, models / "snapshots/own.html", page, image_sha256s=[digest, "f"])
    engine.dispose()
    manifest = (
        f"image_sha256,pixel_sha256,label,split,group_key\n{digest},p,glioma,test,{digest}\nf,q,glioma,test,{digest}\n"
    )
    store.write(models / "snapshots/own.csv", manifest.encode())


_TRACES = """
insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
    select 'key ' || scan_id, scan_id, frame_index, model_version_id, 'rea', 'glioma', 'risk', false from prediction;
insert into review_retraction (review_id) select review_id from review where scan_id = 1;
insert into rejection (scan_id, scoring_run_id, reason, detail) select 1, scoring_run_id, 'corrupt', '' from scoring_run;
insert into scan_requeue (scan_id, scoring_run_id, reason, actor) select 1, scoring_run_id, 'corrupt', 'x' from scoring_run;
insert into shadow_prediction (scan_id, frame_index, model_version_id, run_key, predicted_class, confidence,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, activation_map)
    select scan_id, frame_index, model_version_id, 'r', predicted_class, confidence,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, activation_map
    from prediction;
with run as (
    insert into scoring_run (run_key, kind, model_version_id, engine)
    select 'again', 'rescore', model_version_id, engine from scoring_run returning scoring_run_id, model_version_id
), asked as (
    insert into rescore_run (scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
    select scoring_run_id, true, 'x', 'x', '{}', 3, 3 from run returning scoring_run_id
)
insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state)
    select run.scoring_run_id, scan_id, 0, run.model_version_id, 'already_scored' from run, asked, scan;
insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out)
    select 'own', 's3://b/', 2, 0, jsonb_build_array(
        jsonb_build_object('image_uri', cast(:uri as text), 'reason', 'copy', 'image_sha256', ''));
insert into split_assignment (image_sha256, pixel_sha256, split) values (:digest, 'p', 'test'), ('f', 'q', 'test');
insert into snapshot_image (snapshot_id, image_sha256, group_key, label, split, image_uri, pixel_sha256)
    values ('own', :digest, :digest, 'glioma', 'test', :uri, 'p'), ('own', 'f', :digest, 'glioma', 'test', 's3://b/f', 'q');
insert into reviewed_frame (scan_id, frame_index, image_sha256, image_uri)
    select scan_id, 0, md5('picture ' || scan_id), 's3://braintumor/none/' || scan_id from scan;
insert into snapshot_review (snapshot_id, scan_id, frame_index, label, label_source, count_reader, rules_version)
    select 'own', scan_id, 0, 'glioma', 'readers', 2, 1 from scan;
insert into shown_image (request_key, reviewer, scan_id, frame_index) select 'key ' || scan_id, 'rea', scan_id, 0 from scan;
insert into requested_label (scan_id, frame_index, label, request_key) select scan_id, 0, 'glioma', 'day' from scan
"""


def test_erasure_deletes_all_data_and_runs_still_balance(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    leave_traces(scored, files[0])
    ((ann, studies),) = rows(
        scored, "select patient_pseudonym, array_agg(study_pseudonym) from scan where scan_id < 3 group by 1"
    )
    done = as_eraser(stack, scored, ann)

    assert done.counts["scan"] == done.counts["prediction"] == done.counts["review"] == 2
    assert (done.counts["snapshot_image"], done.snapshot_ids, len(done.removed)) == (1, ("own",), 5)
    assert [uri.rpartition("/")[2] for uri in done.object_uris] == ["ann-1.dcm", "ann-1.dcm", "ann-2.dcm"]
    words = [ann, *studies, *(sha256(data).hexdigest() for data in files[:2]), "ann-1", "ann-2"]
    assert found_in_database(scored, words) == []
    assert found_in_store(scored, words) == []
    assert rows(scored, "select scan_id from scan") == rows(scored, "select scan_id from review") == [(3,)]
    assert rows(scored, "select group_key from snapshot_image where snapshot_id = 'own'") == [("f",)]

    engine = database.connect(scored)
    balance = count_balance(engine, load_run(engine, 1))
    assert balance.is_balanced and str(balance).endswith("0 superseded + 2 erased")
    unaccounted = "select count_asked, count_already_scored, count_erased, count_unaccounted from rescore_balance"
    assert rows(scored, unaccounted) == [(3, 1, 2, 0)]
    assert rows(scored, "select actor, reason, counts ->> 'scan' from erasure") == [("dpo", "asked", "2")]
    engine.dispose()


def test_later_file_of_erased_person_is_rejected(
    stack: Stack, scored: Settings, put: Callable[[str, bytes], None], files: list[bytes]
) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, scored, ann)
    assert ObjectStore.connect(scored).read(S3Uri.parse(scored.require("scans_uri")) / "ben.dcm") == files[3]
    put("scans/later.dcm", files[2])
    balance = run_scoring_job(replace(scored, database_url=scored.database_url), run_key="next")
    assert (balance.count_known, balance.count_rejected, balance.is_balanced) == (1, 1, True)
    assert rows(scored, "select reason from rejection") == [("subject_erased",)]
    assert rows(scored, "select count(*) from scan where patient_pseudonym = :ann", ann=ann) == [(0,)]


def test_erasure_deletes_rejected_scans_with_their_attributes(
    stack: Stack, scored: Settings, put: Callable[[str, bytes], None], files: list[bytes]
) -> None:
    put("scans/rejected.dcm", changed(files[2], BurnedInAnnotation="YES", ManufacturerModelName="Skyra"))
    put("scans/ben-rejected.dcm", changed(files[3], BurnedInAnnotation="YES"))
    run_scoring_job(scored, run_key="next")
    ((ann,),) = rows(scored, "select patient_pseudonym from scan where device_model = 'skyra' and state = 'rejected'")
    done = as_eraser(stack, scored, ann)
    assert (done.counts["scan"], done.counts["rejection"]) == (3, 1)
    assert rows(scored, "select scan_id, manufacturer from scan order by 1") == [(3, "other"), (4, "other")]
    put("scans/again.dcm", changed(files[1], BurnedInAnnotation="YES", ManufacturerModelName="Skyra"))
    run_scoring_job(scored, run_key="last")
    assert rows(scored, "select count(*) from scan where device_model is not null") == [(0,)]


def test_unknown_subject_or_active_run_erases_nothing(stack: Stack, scored: Settings) -> None:
    with pytest.raises(ErasureError, match="No data is stored"):
        as_eraser(stack, scored, "0" * 32)
    change(scored, "update scoring_chunk set finished_at = null, lease_expires_at = now() + interval '1 minute'")
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    with pytest.raises(DatabaseError, match="erase after it has ended"):
        as_eraser(stack, scored, ann)
    assert rows(scored, "select count(*) from scan") == [(3,)]


@pytest.mark.parametrize("with_objects", [False, True])
def test_erase_command_confirms_and_prints_addresses(stack: Stack, scored: Settings, with_objects: bool) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, scored, Role.ERASER)
    arguments = ["subject", "erase", ann, *(["--objects"] if with_objects else [])]
    refused = invoke(eraser, *arguments, answer="n\n")
    assert refused.exit_code == 1 and "It cannot be undone" in refused.output
    assert rows(scored, "select count(*) from scan") == [(3,)]
    done = invoke(eraser, *arguments, answer="y\n")
    assert done.exit_code == 0 and "2 scan" in done.output and "erasure 1: " in done.output
    verb = "deleted" if with_objects else "still there, delete it, with its versions and copies"
    lines = done.output.splitlines()
    assert [f"{verb}: {scored.require('scans_uri')}ann-{number}.dcm" in lines for number in (1, 2)] == [True, True]
    kept = ObjectStore.connect(scored).list(S3Uri.parse(scored.require("scans_uri")))
    left = {entry.key.rpartition("/")[2] for entry in kept}
    assert left == ({"ben.dcm"} if with_objects else {"ann-1.dcm", "ann-2.dcm", "ben.dcm"})


def test_subject_find_prints_pseudonym_without_patient_number(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    scorer = as_role(stack, scored, Role.SCORER)
    done = invoke(scorer, "subject", "find", answer="ANN\n")
    assert done.output == f"{ann}: 2 scans\n"
    done = invoke(scorer, "subject", "find", "--json", answer="no such patient")
    assert json.loads(done.stdout)["count_scan"] == 0
    done = invoke(scorer, "subject", "find", answer="")
    assert isinstance(done.exception, ErasureError)


def test_erase_with_yes_and_json_prints_json(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    command = ("subject", "erase", ann, "--yes", "--json", "--reason", "a letter")
    made = json.loads(printed(as_role(stack, scored, Role.ERASER), *command))
    assert (made["counts"]["scan"], made["are_objects_deleted"], len(made["object_uris"])) == (2, False, 3)
    assert rows(scored, "select reason from erasure") == [("a letter",)]


def test_erasure_finds_pages_by_rows_not_by_text(stack: Stack, scored: Settings) -> None:
    store, models, engine = (
        ObjectStore.connect(scored),
        S3Uri.parse(scored.require("models_uri")),
        database.connect(scored),
    )
    kept, gone, unknown = (models / f"runs/{name}/rescore.html" for name in ("kept", "gone", "unknown"))
    publish_page(engine, store, kept, "Scan 1 is a number in a text", scan_ids=[3])
    publish_page(engine, store, gone, "pixels without a number", scan_ids=[1, 3])
    write_page(store, unknown, "written before pages were recorded")
    write_page(store, models / "runs/unknown/morning.html", "counts only")
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    done = as_eraser(stack, scored, ann)
    assert sorted(done.removed) == sorted(map(str, (gone, unknown)))
    assert store.read(kept) == b"Scan 1 is a number in a text"
    assert b"erased" in store.read(gone) and b"pixels" not in store.read(gone)
    assert rows(scored, "select page_uri, scan_id from page_scan order by 1") == [(str(gone), 3), (str(kept), 3)]
    ((ben,),) = rows(scored, "select patient_pseudonym from scan")
    assert sorted(as_eraser(stack, scored, ben).removed) == sorted(map(str, (gone, kept))), (
        "the page without a row was replaced already"
    )
    engine.dispose()


def test_erased_person_is_excluded_from_later_snapshots(
    stack: Stack, scored: Settings, files: list[bytes], phantoms: Path
) -> None:
    dataset = S3Uri.parse(scored.require("dataset_uri"))
    store = ObjectStore.connect(scored)
    upload(store, labeled_files(phantoms), dataset)
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


def test_image_of_a_patient_in_the_table_is_erased(stack: Stack, scored: Settings, phantoms: Path) -> None:
    dataset, store = S3Uri.parse(scored.require("dataset_uri")), ObjectStore.connect(scored)
    upload(store, labeled_files(phantoms), dataset)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    first, second, *_ = sorted((phantoms / "glioma").glob("*.png"))
    anns, other = (sha256(path.read_bytes()).hexdigest() for path in (first, second))
    key = scored.require("pseudonym_key").encode()
    table = PatientTable(key=key, patients={anns: ann, other: "0" * 32})
    store_patient_table(store, dataset, table, replaces=False)
    before = {image.image_sha256 for image in snapshot_of(scored).images}
    assert {anns, other} <= before
    done = as_eraser(stack, scored, ann)
    assert str(dataset / TABLE) in done.removed
    assert f"{dataset}glioma/{first.name}" in done.object_uris
    left = load_patient_table(store, dataset, key.decode())
    assert left is not None and left.patients == {other: "0" * 32}
    assert rows(scored, "select count(*) from snapshot_image where image_sha256 = :one", one=anns) == [(0,)]
    store_patient_table(store, dataset, table, replaces=False)  # the hospital uploads it again, with another file
    again = first.read_bytes() + b"another end"
    store.write(dataset / "glioma/again.png", again)
    named = PatientTable(key=key, patients={sha256(again).hexdigest(): ann})
    store_patient_table(store, dataset, named, replaces=False)
    after = snapshot_of(scored)
    assert {sha256(again).hexdigest(), anns}.isdisjoint(image.image_sha256 for image in after.images)


def test_later_file_with_erased_study_or_pixels_is_rejected(
    stack: Stack, scored: Settings, put: Callable[[str, bytes], None], files: list[bytes]
) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, scored, ann)
    study = pydicom_of(files[0]).StudyInstanceUID
    put("scans/study.dcm", changed(files[2], PatientID="", StudyInstanceUID=study))
    put("scans/pixels.dcm", changed(files[1], PatientID="", StudyInstanceUID="1.2.3"))
    put("scans/stranger.dcm", changed(files[2], PatientID="EVE", StudyInstanceUID="1.2.4"))
    balance = run_scoring_job(scored, run_key="next")
    assert (balance.count_scored, balance.count_rejected) == (1, 2)
    assert rows(scored, "select distinct reason from rejection") == [("subject_erased",)]


def test_addresses_are_kept_until_objects_are_deleted(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    store, scans = ObjectStore.connect(scored), S3Uri.parse(scored.require("scans_uri"))
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, scored, Role.ERASER)
    first = as_eraser(stack, scored, ann, with_objects=False)
    assert len(first.object_uris) == 3 and not first.are_objects_deleted
    assert erased_objects(eraser).left == first.object_uris
    store.delete([scans / "ann-1.dcm"])  # as an operator would
    store.write(scans / "ann-2.dcm", files[3])  # another person's file
    left = json.loads(printed(eraser, "subject", "objects", "--json"))
    assert left == {"left": [scored.require("dataset_uri") + "glioma/ann-1.dcm"], "count_gone": 2}
    output = invoke(eraser, "subject", "objects", "--delete", answer="y\n")
    assert "0 objects are still there, 1 are gone" in output.output
    assert store.read(scans / "ann-2.dcm") == files[3], "it was overwritten, so it is not the erased person's"
    assert rows(scored, "select * from erasure_object") == []


def test_second_erasure_finds_objects_kept_by_the_first(stack: Stack, scored: Settings, files: list[bytes]) -> None:
    store = ObjectStore.connect(scored)
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    first = as_eraser(stack, scored, ann, with_objects=False)
    run_scoring_job(scored, run_key="next")
    assert rows(scored, "select reason, count(*) from rejection group by 1") == [("subject_erased", 2)]
    labeled = S3Uri.parse(scored.require("dataset_uri")) / "glioma/ann-1.dcm"
    store.write(labeled, files[3])  # another person's file
    second = as_eraser(stack, scored, ann)
    assert second.object_uris == first.object_uris[1:] and second.are_objects_deleted
    assert [entry.key for uri in second.object_uris for entry in store.list(S3Uri.parse(uri))] == []
    assert store.read(labeled) == files[3]
    assert rows(scored, "select * from erasure_object") == []
    assert rows(scored, "select scan_id from scan_location") == [(3,)], "the rejected scans' addresses went too"
    with pytest.raises(ErasureError, match="No data is stored"):
        as_eraser(stack, scored, ann)


def test_erasure_and_writers_of_images_exclude_each_other(stack: Stack, scored: Settings) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    engine = database.connect(scored)
    with writing_images(engine), writing_images(engine):
        with pytest.raises(ErasureError, match="writing images now"):
            as_eraser(stack, scored, ann)
        assert rows(scored, "select count(*) from scan") == [(3,)]
    steps: list[str] = []

    def write() -> None:
        with writing_images(engine):
            steps.append("written")

    with ThreadPoolExecutor(1) as pool, database.transaction(engine) as erasing:
        assert database.try_advisory_lock(erasing, IMAGES)
        writer = pool.submit(write)
        with pytest.raises(TimeoutError):
            writer.result(timeout=1)
        steps.append("erased")
        erasing.rollback()
        writer.result(timeout=30)
    assert steps == ["erased", "written"]
    assert as_eraser(stack, scored, ann).counts["scan"] == 2
    engine.dispose()


class ReachedError(Exception):
    """Raised when a writer of images begins to read them."""


@pytest.mark.parametrize(
    ("reads", "work"),
    [
        ("dataset.take_snapshot.read_images", lambda scored, _engine, _model: snapshot_of(scored)),
        (
            "preview.job.newest_scored",
            lambda scored, engine, model: make_preview(
                engine, scored, candidate=model, champion=model, scans=1, run_key="run"
            ),
        ),
        ("rescoring.job.make_report", lambda scored, _engine, _model: Rescore.open(scored).report(1)),
        ("evaluation.report.publish._stored", lambda scored, engine, model: publish_report(engine, None, model)),
        (
            "evaluation.evaluate_model.load_frames",
            lambda scored, _, model: evaluate_model(scored, model.model_name, access_key="l"),
        ),
    ],
)
def test_every_writer_of_images_shares_the_lock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, reads: str, work: Callable[..., object]
) -> None:
    engine = database.connect(settings)

    def reached(*_: object, **__: object) -> None:
        with database.transaction(engine) as connection:
            assert not database.try_advisory_lock(connection, IMAGES), "an erasure could run now"
        raise ReachedError

    monkeypatch.setattr(f"braintumor.{reads}", reached)
    monkeypatch.setattr("braintumor.rescoring.job.load_rescore", lambda *_: SimpleNamespace(run_key="run"))
    with pytest.raises(ReachedError):
        work(settings, engine, model_versions.champion(engine))
    with database.transaction(engine) as connection:
        assert database.try_advisory_lock(connection, IMAGES), "the lock is free again"
    engine.dispose()


def as_eraser(stack: Stack, scored: Settings, subject: str, *, with_objects: bool = True) -> Erasure:
    """Erase with the role of the eraser, objects in S3 too."""
    eraser = as_role(stack, scored, Role.ERASER)
    return erase(eraser, subject, actor="dpo", reason="asked", with_objects=with_objects)


def pydicom_of(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def changed(data: bytes, **elements: str) -> bytes:
    """Return the DICOM file with changed values."""
    dataset, stream = pydicom_of(data), io.BytesIO()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def found_in_database(scored: Settings, words: list[str]) -> list[tuple[str, str]]:
    """Return the tables with one of the words, and the tables with rows of the erased scans."""
    tables = rows(
        scored, "select relname::text from pg_class where relnamespace = 'braintumor'::regnamespace and relkind = 'r'"
    )
    found = []
    for (table,) in tables:
        held = f"select distinct word from {table} as row, unnest(:words) as word where strpos(to_jsonb(row)::text, word) > 0"
        found += [(table, word) for (word,) in rows(scored, held, words=words)]
        gone = f"select count(*) from {table} as row where (to_jsonb(row) ->> 'scan_id')::bigint in (1, 2)"
        found += [(table, "scan_id") for (count,) in rows(scored, gone) if count]
    return found


def found_in_store(scored: Settings, words: list[str]) -> list[str]:
    """Return the objects with one of the words in content or name, or that show an erased scan."""
    store, own = ObjectStore.connect(scored), S3Uri.parse(scored.require("scans_uri"))
    prefix = S3Uri(bucket=own.bucket, key=own.key.removesuffix("scans/"))
    words = [*words, "ANN", "Scan 1:", "Scan 2:", *(word[:12] for word in words if len(word) == 64)]
    found = []
    for entry in store.list(prefix):
        data = store.read(S3Uri(bucket=entry.bucket, key=entry.key))
        found += [entry.key for word in words if word.encode() in data or word in entry.key.rpartition("/")[2]]
    return found
