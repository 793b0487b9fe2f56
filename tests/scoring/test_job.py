"""Test whole runs: every file is scored, known or rejected with a reason, and no file twice."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from braintumor.config.settings import Settings
from braintumor.errors import (
    BucketMissingError,
    ConfigurationError,
    DatabaseUnreachableError,
    NoChampionError,
    ObjectStoreUnreachableError,
    StaleClaimError,
    UnbalancedRunError,
)
from braintumor.labels import TumorClass
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring import worker
from braintumor.scoring.commit import commit_outcomes
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.lease import claim
from braintumor.serving.backend import LoadedModel
from tests.conftest import Put
from tests.images import png
from tests.models import add_model, promote
from tests.sql import change, rows


def test_run_scores_or_rejects_every_file_with_a_reason(settings: Settings, put: Put) -> None:
    good = png()
    put("a.png", good)
    put("copy of a.png", good)
    put("cut.png", good[: len(good) // 2])
    put("words.jpg", b"this is not an image")
    put("empty.dcm", b"")
    put(".DS_Store", b"litter")
    balance = run_scoring_job(settings, run_key="night")
    assert str(balance) == "6 seen = 2 scored + 0 known + 3 rejected + 1 ignored + 0 deferred + 0 superseded"
    assert {reason for (reason,) in rows(settings, "select reason from rejection")} == {
        "truncated",
        "unsupported_format",
        "empty_file",
    }
    answers = rows(
        settings,
        """
        select predicted_class::text, confidence, probability_glioma, probability_meningioma, probability_normal,
               probability_pituitary, octet_length(activation_map), model_version_id
        from prediction""",
    )
    assert len(answers) == 2
    for predicted, confidence, *probabilities, map_bytes, model in answers:
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert confidence == max(probabilities)
        assert probabilities[list(TumorClass).index(TumorClass(predicted))] == confidence
        assert (map_bytes, model) == (2 * 2 * 2, 1)  # 64 / 32 places a side, two bytes each


def test_same_bytes_get_the_same_prediction(settings: Settings, put: Put) -> None:
    put("a.png", png())
    put("b.png", png())
    run_scoring_job(settings, run_key="night")
    first, second = rows(settings, "select confidence, activation_map::text from prediction order by scan_id")
    assert first == second


def test_second_run_finds_nothing_and_writes_nothing(settings: Settings, put: Put) -> None:
    put("a.png", png())
    put("bad.png", b"")
    run_scoring_job(settings, run_key="first")
    before = rows(settings, "select * from prediction"), rows(settings, "select * from rejection")
    balance = run_scoring_job(settings, run_key="second")
    assert str(balance) == "2 seen = 0 scored + 2 known + 0 rejected + 0 ignored + 0 deferred + 0 superseded"
    assert before == (rows(settings, "select * from prediction"), rows(settings, "select * from rejection"))


def test_overwritten_object_is_a_new_scan(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(settings, run_key="first")
    put("a.png", png(seed=2))
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert rows(settings, "select scan_id, is_replaced from scan order by 1") == [(1, True), (2, False)]


def test_current_predictions_are_those_of_the_present_version(settings: Settings, put: Put) -> None:
    current = "select scan_id from current_prediction order by 1"
    put("other.png", png(seed=9))
    for run_key, seed, scan_id in (("first", 1, 1), ("second", 2, 3), ("third", 3, 4), ("restored", 2, 3)):
        put("a.png", png(seed=seed))
        run_scoring_job(settings, run_key=run_key)
        assert rows(settings, current) == sorted([(2,), (scan_id,)]), run_key
        assert rows(settings, "select scan_id from scan_prediction order by 1") == sorted([(2,), (scan_id,)])
    assert rows(settings, "select count(*) from prediction_history") == [(4,)]


def test_object_overwritten_after_listing_is_scored_next_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="first")
    chunks = job.plan(run.scoring_run_id)
    put("a.png", png(seed=2))
    assert job.score(run.scoring_run_id, chunks[0]) == {"superseded": 1}
    assert job.reconcile(run.scoring_run_id).count_superseded == 1
    assert run_scoring_job(settings, run_key="second").count_scored == 1


def test_deleted_prediction_makes_the_run_red(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    run_scoring_job(settings, run_key="first")
    change(settings, "delete from prediction where scan_id = (select min(scan_id) from prediction)")
    job = ScoringJob.open(settings)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        job.reconcile(1)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        run_scoring_job(settings, run_key="second")
    assert rows(settings, "select state::text from scoring_run order by 1") == [("unbalanced",), ("unbalanced",)]


def test_prefix_does_not_match_a_longer_prefix(settings: Settings, put: Put) -> None:
    put("a.png", png())
    prefix = settings.require("scans_uri")
    ObjectStore.connect(settings).write(S3Uri.parse(f"{prefix[:-1]}_old/b.png"), png(seed=9))
    assert run_scoring_job(settings, run_key="night", scans_uri=prefix).count_seen == 1


def test_next_run_scores_scans_of_a_crashed_run(settings: Settings, put: Put) -> None:
    for number in range(4):
        put(f"{number}.png", png(seed=number))
    job = ScoringJob.open(settings)
    dead, _ = job.begin(run_key="dead")
    chunks = job.plan(dead.scoring_run_id, chunk_size=2)
    job.score(dead.scoring_run_id, chunks[0])
    balance = run_scoring_job(settings, run_key="next")
    assert (balance.count_known, balance.count_scored) == (2, 2)
    assert rows(settings, "select count(*), count(distinct scan_id) from prediction") == [(4, 4)]


def test_scans_leased_by_another_run_are_deferred(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    first, _ = job.begin(run_key="first")
    (chunk,) = job.plan(first.scoring_run_id)
    assert claim(job.engine, first, chunk) is not None
    assert run_scoring_job(settings, run_key="second").count_deferred == 1
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    assert run_scoring_job(settings, run_key="third").count_scored == 1


def test_worker_with_a_lost_lease_writes_nothing(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    (chunk,) = job.plan(run.scoring_run_id)
    stale = claim(job.engine, run, chunk)
    assert stale is not None
    assert job.score(run.scoring_run_id, chunk) == {"scored": 1}
    with pytest.raises(StaleClaimError):
        commit_outcomes(job.engine, stale, [], stage_seconds={})
    assert job.score(run.scoring_run_id, chunk) == {}
    assert job.reconcile(run.scoring_run_id).count_scored == 1


def test_worker_of_replanned_scans_writes_nothing(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    slow, _ = job.begin(run_key="slow")
    (chunk,) = job.plan(slow.scoring_run_id)
    held = claim(job.engine, slow, chunk)
    assert held is not None
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    run_scoring_job(settings, run_key="quick")
    with pytest.raises(StaleClaimError):
        job.score(slow.scoring_run_id, chunk) or commit_outcomes(job.engine, held, [], stage_seconds={})
    assert rows(settings, "select count(*) from prediction") == [(1,)]


def test_retried_task_reuses_the_stored_results(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    job = ScoringJob.open(settings)
    run, first = job.begin(run_key="night")
    put("late.png", png(seed=2))
    again, second = job.begin(run_key="night")
    assert (again, second) == (run, first)
    assert job.plan(run.scoring_run_id) == job.plan(run.scoring_run_id) == [0]


def test_run_keeps_its_pinned_champion(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    add_model(settings, "other")
    promote(settings, "other")
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    assert rows(settings, "select model_version_id from prediction") == [(run.model.model_version_id,)]


def test_no_object_key_leaves_its_table(settings: Settings, put: Put) -> None:
    put("Jane_Doe_1970.png", png())
    put("John_Roe.png", b"broken")
    run_scoring_job(settings, run_key="night")
    for table in ("scan", "prediction", "rejection", "scoring_run", "scoring_chunk", "scoring_run_object"):
        everything = str(rows(settings, f"select t::text from {table} t"))
        assert "Doe" not in everything and "Roe" not in everything


def test_patient_identity_is_stored_as_keyed_pseudonyms_only(settings: Settings, put: Put, phantoms: Path) -> None:
    import pydicom

    source = next(phantoms.rglob("*.dcm"))
    dataset = pydicom.dcmread(source)
    put("scan.dcm", source.read_bytes())
    run_scoring_job(settings, run_key="night")
    ((patient, study, everything),) = rows(
        settings, "select patient_pseudonym, study_pseudonym, s::text from scan s where format = 'dicom'"
    )
    assert len(str(patient)) == len(str(study)) == 32
    for raw in (dataset.PatientID, str(dataset.PatientName), dataset.StudyInstanceUID):
        assert raw not in str(everything)


def test_without_champion_no_run_is_opened(empty_settings: Settings) -> None:
    with pytest.raises(NoChampionError, match="weekly_retrain"):
        run_scoring_job(empty_settings, run_key="night")
    assert rows(empty_settings, "select * from scoring_run") == []


def test_missing_bucket_is_named_and_stores_no_listing(settings: Settings) -> None:
    with pytest.raises(BucketMissingError, match="'nowhere'"):
        run_scoring_job(settings, run_key="night", scans_uri="s3://nowhere/scans/")
    assert rows(settings, "select * from scan") == []


def test_unreachable_s3_is_named_with_the_remedy(settings: Settings) -> None:
    with pytest.raises(ObjectStoreUnreachableError, match=r"127\.0\.0\.1:9.*BRAINTUMOR_S3_ENDPOINT"):
        run_scoring_job(replace(settings, s3_endpoint="http://127.0.0.1:9"), run_key="night")


def test_s3_failure_during_a_run_leaves_scans_pending(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    chunks = job.plan(run.scoring_run_id)
    dead = replace(settings, s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(ObjectStoreUnreachableError):
        ScoringJob.open(dead).score(run.scoring_run_id, chunks[0])
    assert rows(settings, "select state::text from scan") == [("pending",)]
    with pytest.raises(UnbalancedRunError):
        job.reconcile(run.scoring_run_id)
    assert job.score(run.scoring_run_id, chunks[0]) == {"scored": 1}
    assert job.reconcile(run.scoring_run_id).is_balanced


def test_unreachable_postgres_is_named_with_the_remedy(settings: Settings) -> None:
    with pytest.raises(DatabaseUnreachableError, match=r"Connection refused.*BRAINTUMOR_DATABASE_URL") as refusal:
        run_scoring_job(replace(settings, database_url="postgresql://u:secret@127.0.0.1:9/none"), run_key="night")
    assert "127.0.0.1" not in str(refusal.value)


def test_short_pseudonym_key_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="BRAINTUMOR_PSEUDONYM_KEY"):
        ScoringJob.open(replace(settings, pseudonym_key="short"))


def test_image_with_too_many_pixels_is_not_decoded(settings: Settings, put: Put) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1, 20_000), np.uint8)).resize((20_000, 20_000)).save(buffer, "PNG")
    put("huge.png", buffer.getvalue())
    run_scoring_job(settings, run_key="night")
    assert rows(settings, "select reason from rejection") == [("too_many_pixels",)]


def test_lease_is_renewed_while_the_chunk_is_scored(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png", png())
    submit, prolonged = LoadedModel.submit, list[object]()

    def slow(self: LoadedModel, frames: object) -> object:
        change(settings, "update scoring_chunk set lease_expires_at = now() + interval '1 second'")
        return submit(self, frames)  # type: ignore[arg-type]

    def watched(*given: object, **named: object) -> None:
        prolonged.extend(rows(settings, "select lease_expires_at > now() + interval '100 seconds' from scoring_chunk"))
        commit_outcomes(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedModel, "submit", slow)
    monkeypatch.setattr(worker, "commit_outcomes", watched)
    run_scoring_job(settings, run_key="night")
    assert prolonged == [(True,), (True,)], "where the step is committed, and where the chunk is closed"
