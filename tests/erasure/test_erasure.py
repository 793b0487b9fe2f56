# ruff: noqa: E501
"""Test that an erasure deletes all data of a person, and that later files of the person are rejected."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import DatabaseError, ErasureError
from braintumor.reports.paths import publish_page, write_page
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.run import load_run
from braintumor.scoring.run_report.balance import count_balance
from devstack.stack import Stack
from tests.conftest import Put
from tests.erasure.erased_files import as_eraser, changed, found_in_database, found_in_store, pydicom_of
from tests.sql import change, rows


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


def test_later_file_of_erased_person_is_rejected(stack: Stack, scored: Settings, put: Put, files: list[bytes]) -> None:
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    as_eraser(stack, scored, ann)
    assert ObjectStore.connect(scored).read(S3Uri.parse(scored.require("scans_uri")) / "ben.dcm") == files[3]
    put("scans/later.dcm", files[2])
    balance = run_scoring_job(replace(scored, database_url=scored.database_url), run_key="next")
    assert (balance.count_known, balance.count_rejected, balance.is_balanced) == (1, 1, True)
    assert rows(scored, "select reason from rejection") == [("subject_erased",)]
    assert rows(scored, "select count(*) from scan where patient_pseudonym = :ann", ann=ann) == [(0,)]


def test_erasure_deletes_rejected_scans_with_their_attributes(
    stack: Stack, scored: Settings, put: Put, files: list[bytes]
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


def test_erasure_deletes_reviewed_images_that_no_row_names(stack: Stack, scored: Settings) -> None:
    store, models = ObjectStore.connect(scored), S3Uri.parse(scored.require("models_uri"))
    of_frame, of_snapshot, unnamed = (models / f"reviewed/{name}.png" for name in ("frame", "snapshot", "unnamed"))
    leave_traces(scored, b"ann")
    change(scored, "update reviewed_frame set image_uri = :uri where scan_id = 3", uri=str(of_frame))
    change(scored, "update snapshot_image set image_uri = :uri where image_sha256 = 'f'", uri=str(of_snapshot))
    for uri in (of_frame, of_snapshot, unnamed):
        store.write(uri, b"png")
    ((ann,),) = rows(scored, "select distinct patient_pseudonym from scan where scan_id < 3")
    assert str(unnamed) in as_eraser(stack, scored, ann).removed
    left = {entry.key for entry in store.list(models / "reviewed/")}
    assert left == {of_frame.key, of_snapshot.key}, "an image is left that only a lost row named"


def test_later_file_with_erased_study_or_pixels_is_rejected(
    stack: Stack, scored: Settings, put: Put, files: list[bytes]
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
