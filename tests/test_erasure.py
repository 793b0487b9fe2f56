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
from braintumor.dataset.snapshot import snapshot_of
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
from tests.people import as_patient
from tests.sql import change, rows


@pytest.fixture
def files(tmp_path: Path) -> list[bytes]:
    """Four DICOM files: three of Ann, the last of Ben."""
    found = [path for path in write_unlabeled(tmp_path, count=80, seed=4) if path.suffix == ".dcm"]
    return [as_patient(path, patient) for path, patient in zip(found, ["ANN", "ANN", "ANN", "BEN"], strict=False)]


@pytest.fixture
def night(settings: Settings, put: Callable[[str, bytes], None], files: list[bytes]) -> Iterator[Settings]:
    """Two scans of Ann and one of Ben, scored; pages and labeled images beside the own models' prefix."""
    own = settings.require("scans_uri")
    settings = replace(settings, models_uri=f"{own}models/", dataset_uri=f"{own}dataset/")
    scored = replace(settings, scans_uri=f"{own}scans/")
    for name, data in zip(("ann-1", "ann-2", "ben"), (files[0], files[1], files[3]), strict=True):
        put(f"scans/{name}.dcm", data)
    put("dataset/glioma/ann-1.dcm", files[0])
    run_scoring_job(scored, run_key="night")
    yield scored


def leave_traces(night: Settings, ann: bytes) -> None:
    """Whatever else can hold a scan: reviews, shadows, another try, a rescore, a snapshot, pages."""
    digest, store, models = (
        sha256(ann).hexdigest(),
        ObjectStore.connect(night),
        S3Uri.parse(night.require("models_uri")),
    )
    for statement in _TRACES.split(";\n"):
        change(night, statement, digest=digest, uri=night.require("dataset_uri") + "glioma/ann-1.dcm")
    engine = database.connect(night)
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
    select run.scoring_run_id, scan_id, 0, run.model_version_id, 'already' from run, asked, scan;
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


def test_of_an_erased_person_nothing_is_left_and_every_run_still_balances(
    stack: Stack, night: Settings, files: list[bytes]
) -> None:
    leave_traces(night, files[0])
    ((ann, studies),) = rows(
        night, "select patient_pseudonym, array_agg(study_pseudonym) from scan where scan_id < 3 group by 1"
    )
    done = as_eraser(stack, night, ann)

    assert done.counts["scan"] == done.counts["prediction"] == done.counts["review"] == 2
    assert (done.counts["snapshot_image"], done.snapshot_ids, len(done.removed)) == (1, ("own",), 5)
    assert [uri.rpartition("/")[2] for uri in done.object_uris] == ["ann-1.dcm", "ann-1.dcm", "ann-2.dcm"]
    words = [ann, *studies, *(sha256(data).hexdigest() for data in files[:2]), "ann-1", "ann-2"]
    assert found_in_database(night, words) == []
    assert found_in_store(night, words) == []
    assert rows(night, "select scan_id from scan") == rows(night, "select scan_id from review") == [(3,)]
    assert rows(night, "select group_key from snapshot_image where snapshot_id = 'own'") == [("f",)]

    engine = database.connect(night)
    balance = count_balance(engine, load_run(engine, 1))
    assert balance.is_balanced and str(balance).endswith("0 superseded + 2 erased")
    unaccounted = "select count_asked, count_already, count_erased, count_unaccounted from rescore_balance"
    assert rows(night, unaccounted) == [(3, 1, 2, 0)]
    assert rows(night, "select actor, reason, counts ->> 'scan' from erasure") == [("dpo", "asked", "2")]
    engine.dispose()


def test_a_later_file_of_an_erased_person_is_rejected(
    stack: Stack, night: Settings, put: Callable[[str, bytes], None], files: list[bytes]
) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, night, ann)
    assert ObjectStore.connect(night).read(S3Uri.parse(night.require("scans_uri")) / "ben.dcm") == files[3]
    put("scans/later.dcm", files[2])
    balance = run_scoring_job(replace(night, database_url=night.database_url), run_key="next")
    assert (balance.count_known, balance.count_rejected, balance.is_balanced) == (1, 1, True)
    assert rows(night, "select reason from rejection") == [("subject_erased",)]
    assert rows(night, "select count(*) from scan where patient_pseudonym = :ann", ann=ann) == [(0,)]


def test_who_is_unknown_is_said_to_be_and_nothing_is_erased_while_a_run_is_at_work(
    stack: Stack, night: Settings
) -> None:
    with pytest.raises(ErasureError, match="Nothing is stored"):
        as_eraser(stack, night, "0" * 32)
    change(night, "update scoring_chunk set finished_at = null, lease_expires_at = now() + interval '1 minute'")
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    with pytest.raises(DatabaseError, match="erase when it has ended"):
        as_eraser(stack, night, ann)
    assert rows(night, "select count(*) from scan") == [(3,)]


@pytest.mark.parametrize("with_objects", [False, True])
def test_the_command_asks_first_and_prints_where_the_images_are(
    stack: Stack, night: Settings, with_objects: bool
) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, night, Role.ERASER)
    arguments = ["subject", "erase", ann, *(["--objects"] if with_objects else [])]
    refused = invoke(eraser, *arguments, answer="n\n")
    assert refused.exit_code == 1 and "It cannot be undone" in refused.output
    assert rows(night, "select count(*) from scan") == [(3,)]
    done = invoke(eraser, *arguments, answer="y\n")
    assert done.exit_code == 0 and "2 scan" in done.output and "erasure 1: " in done.output
    verb = "deleted" if with_objects else "still there, delete it, with its versions and copies"
    lines = done.output.splitlines()
    assert [f"{verb}: {night.require('scans_uri')}ann-{number}.dcm" in lines for number in (1, 2)] == [True, True]
    kept = ObjectStore.connect(night).list(S3Uri.parse(night.require("scans_uri")))
    left = {entry.key.rpartition("/")[2] for entry in kept}
    assert left == ({"ben.dcm"} if with_objects else {"ann-1.dcm", "ann-2.dcm", "ben.dcm"})


def test_a_patient_number_leads_to_the_pseudonym_and_stays_out_of_sight(stack: Stack, night: Settings) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    scorer = as_role(stack, night, Role.SCORER)
    done = invoke(scorer, "subject", "find", answer="ANN\n")
    assert done.output == f"{ann}: 2 scans\n"
    done = invoke(scorer, "subject", "find", "--json", answer="nobody")
    assert json.loads(done.stdout)["count_scan"] == 0
    done = invoke(scorer, "subject", "find", answer="")
    assert isinstance(done.exception, ErasureError)


def test_a_script_that_is_sure_gets_json(stack: Stack, night: Settings) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    asked = ("subject", "erase", ann, "--yes", "--json", "--reason", "a letter")
    made = json.loads(printed(as_role(stack, night, Role.ERASER), *asked))
    assert (made["counts"]["scan"], made["are_objects_deleted"], len(made["object_uris"])) == (2, False, 3)
    assert rows(night, "select reason from erasure") == [("a letter",)]


def test_pages_are_found_by_what_is_recorded_of_them_and_not_by_their_words(stack: Stack, night: Settings) -> None:
    store, models, engine = (
        ObjectStore.connect(night),
        S3Uri.parse(night.require("models_uri")),
        database.connect(night),
    )
    kept, gone, unknown = (models / f"runs/{name}/rescore.html" for name in ("kept", "gone", "unknown"))
    publish_page(engine, store, kept, "Scan 1 is a number in a text", scan_ids=[3])
    publish_page(engine, store, gone, "pixels without a number", scan_ids=[1, 3])
    write_page(store, unknown, "written before pages were recorded")
    write_page(store, models / "runs/unknown/morning.html", "counts only")
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    done = as_eraser(stack, night, ann)
    assert sorted(done.removed) == sorted(map(str, (gone, unknown)))
    assert store.read(kept) == b"Scan 1 is a number in a text"
    assert b"erased" in store.read(gone) and b"pixels" not in store.read(gone)
    assert rows(night, "select page_uri, scan_id from page_scan order by 1") == [(str(gone), 3), (str(kept), 3)]
    ((ben,),) = rows(night, "select patient_pseudonym from scan")
    assert sorted(as_eraser(stack, night, ben).removed) == sorted(map(str, (gone, kept))), "the unknown one is replaced"
    engine.dispose()


def test_an_erased_person_does_not_return_to_training(
    stack: Stack, night: Settings, files: list[bytes], phantoms: Path
) -> None:
    dataset = S3Uri.parse(night.require("dataset_uri"))
    store = ObjectStore.connect(night)
    upload(store, labeled_files(phantoms), dataset)
    before = {image.image_sha256 for image in snapshot_of(night).images}
    assert sha256(files[0]).hexdigest() in before
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, night, ann, with_objects=False)
    decoded = decode(files[1])
    assert isinstance(decoded, Decoded)
    returning = {
        "glioma/again.dcm": files[0],  # the file of the snapshot
        "glioma/scan.dcm": files[1],  # the file of a scan, which was in no snapshot
        "glioma/other.dcm": files[2],  # a file that was never seen
        "glioma/same-pixels.png": as_png(decoded.frames[0].pixels),
        "glioma/no-patient.dcm": changed(
            files[2], PatientID="", StudyInstanceUID=pydicom_of(files[0]).StudyInstanceUID
        ),
    }
    for name, data in {**returning, "glioma/ben.dcm": files[3]}.items():
        store.write(dataset / name, data)
    after = snapshot_of(night)
    shas = {image.image_sha256 for image in after.images}
    assert shas == before - {sha256(files[0]).hexdigest()} | {sha256(files[3]).hexdigest()}
    refused = [item for item in after.left_out if "erased" in item.reason]
    assert len(refused) == len(returning) + 1, "the first file still lies where it was, too"
    assert {(item.image_uri, item.image_sha256) for item in refused} == {("(not named)", "")}
    words = [sha256(data).hexdigest() for data in returning.values()]
    assert [table for table, _ in found_in_database(night, words)] == []
    done = as_eraser(stack, night, ann)
    assert {uri.rpartition("/")[2] for uri in done.object_uris} >= {name.rpartition("/")[2] for name in returning}
    assert not [item for item in snapshot_of(night).left_out if "erased" in item.reason]


def test_a_later_file_without_a_patient_is_rejected_where_its_study_or_its_pixels_are_known(
    stack: Stack, night: Settings, put: Callable[[str, bytes], None], files: list[bytes]
) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, night, ann)
    study = pydicom_of(files[0]).StudyInstanceUID
    put("scans/study.dcm", changed(files[2], PatientID="", StudyInstanceUID=study))
    put("scans/pixels.dcm", changed(files[1], PatientID="", StudyInstanceUID="1.2.3"))
    put("scans/stranger.dcm", changed(files[2], PatientID="EVE", StudyInstanceUID="1.2.4"))
    balance = run_scoring_job(night, run_key="next")
    assert (balance.count_scored, balance.count_rejected) == (1, 2)
    assert rows(night, "select distinct reason from rejection") == [("subject_erased",)]


def test_addresses_are_kept_until_the_objects_are_gone(stack: Stack, night: Settings, files: list[bytes]) -> None:
    store, scans = ObjectStore.connect(night), S3Uri.parse(night.require("scans_uri"))
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    eraser = as_role(stack, night, Role.ERASER)
    first = as_eraser(stack, night, ann, with_objects=False)
    assert len(first.object_uris) == 3 and not first.are_objects_deleted
    assert erased_objects(eraser).left == first.object_uris
    store.delete([scans / "ann-1.dcm"])  # by hand
    store.write(scans / "ann-2.dcm", files[3])  # another person's file
    left = json.loads(printed(eraser, "subject", "objects", "--json"))
    assert left == {"left": [night.require("dataset_uri") + "glioma/ann-1.dcm"], "count_gone": 2}
    told = invoke(eraser, "subject", "objects", "--delete", answer="y\n")
    assert "0 objects are still there, 1 are gone" in told.output
    assert store.read(scans / "ann-2.dcm") == files[3], "it was overwritten, so it is not the erased person's"
    assert rows(night, "select * from erasure_object") == []


def test_a_second_erasure_finds_the_objects_that_the_first_left(
    stack: Stack, night: Settings, files: list[bytes]
) -> None:
    store = ObjectStore.connect(night)
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    first = as_eraser(stack, night, ann, with_objects=False)
    run_scoring_job(night, run_key="next")
    assert rows(night, "select reason, count(*) from rejection group by 1") == [("subject_erased", 2)]
    labeled = S3Uri.parse(night.require("dataset_uri")) / "glioma/ann-1.dcm"
    store.write(labeled, files[3])  # another person's file
    second = as_eraser(stack, night, ann)
    assert second.object_uris == first.object_uris[1:] and second.are_objects_deleted
    assert [entry.key for uri in second.object_uris for entry in store.list(S3Uri.parse(uri))] == []
    assert store.read(labeled) == files[3]
    assert rows(night, "select * from erasure_object") == []
    assert rows(night, "select scan_id from scan_location") == [(3,)], "the rejected scans' addresses went too"
    with pytest.raises(ErasureError, match="Nothing is stored"):
        as_eraser(stack, night, ann)


def test_nothing_is_erased_while_images_are_written_and_nothing_is_written_during_an_erasure(
    stack: Stack, night: Settings
) -> None:
    ((ann,),) = rows(night, "select distinct patient_pseudonym from scan where scan_id < 3")
    engine = database.connect(night)
    with writing_images(engine), writing_images(engine):
        with pytest.raises(ErasureError, match="writing images at this moment"):
            as_eraser(stack, night, ann)
        assert rows(night, "select count(*) from scan") == [(3,)]
    steps: list[str] = []

    def write() -> None:
        with writing_images(engine):
            steps.append("written")

    with ThreadPoolExecutor(1) as pool, database.transaction(engine) as erasing:
        assert database.try_turn(erasing, IMAGES)
        writer = pool.submit(write)
        with pytest.raises(TimeoutError):
            writer.result(timeout=1)
        steps.append("erased")
        erasing.rollback()
        writer.result(timeout=30)
    assert steps == ["erased", "written"]
    assert as_eraser(stack, night, ann).counts["scan"] == 2
    engine.dispose()


class ReachedError(Exception):
    """A writer of images began to read them."""


@pytest.mark.parametrize(
    ("reads", "work"),
    [
        ("dataset.snapshot.read_images", lambda night, _engine, _model: snapshot_of(night)),
        (
            "preview.job.newest_scored",
            lambda night, engine, model: make_preview(
                engine, night, candidate=model, champion=model, scans=1, run_key="run"
            ),
        ),
        ("rescoring.job.make_report", lambda night, _engine, _model: Rescore.open(night).report(1)),
        ("evaluation.report.publish._stored", lambda night, engine, model: publish_report(engine, None, model)),
        (
            "evaluation.evaluate_model.load_frames",
            lambda night, _, model: evaluate_model(night, model.model_name, access_key="l"),
        ),
    ],
)
def test_whatever_writes_images_shares_the_lock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, reads: str, work: Callable[..., object]
) -> None:
    engine = database.connect(settings)

    def reached(*_: object, **__: object) -> None:
        with database.transaction(engine) as connection:
            assert not database.try_turn(connection, IMAGES), "an erasure could run now"
        raise ReachedError

    monkeypatch.setattr(f"braintumor.{reads}", reached)
    monkeypatch.setattr("braintumor.rescoring.job.load_rescore", lambda *_: SimpleNamespace(run_key="run"))
    with pytest.raises(ReachedError):
        work(settings, engine, model_versions.champion(engine))
    with database.transaction(engine) as connection:
        assert database.try_turn(connection, IMAGES), "the lock is free again"
    engine.dispose()


def as_eraser(stack: Stack, night: Settings, subject: str, *, with_objects: bool = True) -> Erasure:
    """Erase with the login that can do nothing else, source objects too."""
    eraser = as_role(stack, night, Role.ERASER)
    return erase(eraser, subject, actor="dpo", reason="asked", with_objects=with_objects)


def pydicom_of(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def changed(data: bytes, **elements: str) -> bytes:
    """A DICOM file with other values."""
    dataset, stream = pydicom_of(data), io.BytesIO()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def found_in_database(night: Settings, words: list[str]) -> list[tuple[str, str]]:
    """Which of the words stand in which table, in whatever column; and rows of the erased scans."""
    tables = rows(
        night, "select relname::text from pg_class where relnamespace = 'braintumor'::regnamespace and relkind = 'r'"
    )
    found = []
    for (table,) in tables:
        held = f"select distinct word from {table} as row, unnest(:words) as word where strpos(to_jsonb(row)::text, word) > 0"
        found += [(table, word) for (word,) in rows(night, held, words=words)]
        gone = f"select count(*) from {table} as row where (to_jsonb(row) ->> 'scan_id')::bigint in (1, 2)"
        found += [(table, "scan_id") for (count,) in rows(night, gone) if count]
    return found


def found_in_store(night: Settings, words: list[str]) -> list[str]:
    """Objects that hold or are named by one of the words, or show an erased scan."""
    store, own = ObjectStore.connect(night), S3Uri.parse(night.require("scans_uri"))
    prefix = S3Uri(bucket=own.bucket, key=own.key.removesuffix("scans/"))
    words = [*words, "ANN", "Scan 1:", "Scan 2:", *(word[:12] for word in words if len(word) == 64)]
    found = []
    for entry in store.list(prefix):
        data = store.read(S3Uri(bucket=entry.bucket, key=entry.key))
        found += [entry.key for word in words if word.encode() in data or word in entry.key.rpartition("/")[2]]
    return found
