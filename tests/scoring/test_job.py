"""What the operator sees in the morning: every file scored, known, or rejected with a reason, and nothing twice."""

from __future__ import annotations

import io
from collections.abc import Callable
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
from tests.images import png
from tests.models import add_model, promote
from tests.sql import change, rows

Put = Callable[[str, bytes], None]


def test_a_night_scores_what_is_good_and_says_why_of_what_is_bad(settings: Settings, put: Put) -> None:
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


def test_the_same_bytes_get_the_same_answer(settings: Settings, put: Put) -> None:
    put("a.png", png())
    put("b.png", png())
    run_scoring_job(settings, run_key="night")
    first, second = rows(settings, "select confidence, activation_map::text from prediction order by scan_id")
    assert first == second


def test_a_second_run_finds_nothing_new_and_writes_no_answer(settings: Settings, put: Put) -> None:
    put("a.png", png())
    put("bad.png", b"")
    run_scoring_job(settings, run_key="first")
    before = rows(settings, "select * from prediction"), rows(settings, "select * from rejection")
    balance = run_scoring_job(settings, run_key="second")
    assert str(balance) == "2 seen = 0 scored + 2 known + 0 rejected + 0 ignored + 0 deferred + 0 superseded"
    assert before == (rows(settings, "select * from prediction"), rows(settings, "select * from rejection"))


def test_an_overwritten_object_is_a_new_scan(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(settings, run_key="first")
    put("a.png", png(seed=2))
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert rows(settings, "select count(*) from scan") == [(2,)]


def test_an_object_overwritten_after_it_was_listed_goes_to_the_next_night(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="first")
    chunks = night.plan(run.scoring_run_id)
    put("a.png", png(seed=2))
    assert night.score(run.scoring_run_id, chunks[0]) == {"superseded": 1}
    assert night.reconcile(run.scoring_run_id).count_superseded == 1
    assert run_scoring_job(settings, run_key="second").count_scored == 1


def test_a_deleted_prediction_turns_the_night_red(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    run_scoring_job(settings, run_key="first")
    change(settings, "delete from prediction where scan_id = (select min(scan_id) from prediction)")
    night = ScoringJob.open(settings)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        night.reconcile(1)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        run_scoring_job(settings, run_key="second")
    assert rows(settings, "select state::text from scoring_run order by 1") == [("unbalanced",), ("unbalanced",)]


def test_a_prefix_does_not_match_its_longer_neighbor(settings: Settings, put: Put) -> None:
    put("a.png", png())
    prefix = settings.require("scans_uri")
    ObjectStore.connect(settings).write(S3Uri.parse(f"{prefix[:-1]}_old/b.png"), png(seed=9))
    assert run_scoring_job(settings, run_key="night", scans_uri=prefix).count_seen == 1


def test_work_that_a_dead_run_left_is_done_by_the_next(settings: Settings, put: Put) -> None:
    for number in range(4):
        put(f"{number}.png", png(seed=number))
    night = ScoringJob.open(settings)
    dead, _ = night.begin(run_key="dead")
    chunks = night.plan(dead.scoring_run_id, chunk_size=2)
    night.score(dead.scoring_run_id, chunks[0])
    balance = run_scoring_job(settings, run_key="next")
    assert (balance.count_known, balance.count_scored) == (2, 2)
    assert rows(settings, "select count(*), count(distinct scan_id) from prediction") == [(4, 4)]


def test_scans_that_another_run_is_working_on_are_deferred(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    first, _ = night.begin(run_key="first")
    (chunk,) = night.plan(first.scoring_run_id)
    assert claim(night.engine, first, chunk) is not None
    assert run_scoring_job(settings, run_key="second").count_deferred == 1
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    assert run_scoring_job(settings, run_key="third").count_scored == 1


def test_a_worker_that_was_thought_dead_writes_nothing(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    (chunk,) = night.plan(run.scoring_run_id)
    stale = claim(night.engine, run, chunk)
    assert stale is not None
    assert night.score(run.scoring_run_id, chunk) == {"scored": 1}
    with pytest.raises(StaleClaimError):
        commit_outcomes(night.engine, stale, [], stage_seconds={})
    assert night.score(run.scoring_run_id, chunk) == {}
    assert night.reconcile(run.scoring_run_id).count_scored == 1


def test_a_worker_whose_scans_another_run_took_writes_nothing(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    slow, _ = night.begin(run_key="slow")
    (chunk,) = night.plan(slow.scoring_run_id)
    held = claim(night.engine, slow, chunk)
    assert held is not None
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    run_scoring_job(settings, run_key="quick")
    with pytest.raises(StaleClaimError):
        night.score(slow.scoring_run_id, chunk) or commit_outcomes(night.engine, held, [], stage_seconds={})
    assert rows(settings, "select count(*) from prediction") == [(1,)]


def test_a_retried_task_finds_what_its_predecessor_stored(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    night = ScoringJob.open(settings)
    run, first = night.begin(run_key="night")
    put("late.png", png(seed=2))
    again, second = night.begin(run_key="night")
    assert (again, second) == (run, first)
    assert night.plan(run.scoring_run_id) == night.plan(run.scoring_run_id) == [0]


def test_a_run_keeps_the_champion_that_it_began_with(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    add_model(settings, "other")
    promote(settings, "other")
    for chunk in night.plan(run.scoring_run_id):
        night.score(run.scoring_run_id, chunk)
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


def test_no_champion_means_nothing_is_opened(empty_settings: Settings) -> None:
    with pytest.raises(NoChampionError, match="weekly_retrain"):
        run_scoring_job(empty_settings, run_key="night")
    assert rows(empty_settings, "select * from scoring_run") == []


def test_a_missing_bucket_is_named_and_leaves_no_listing(settings: Settings) -> None:
    with pytest.raises(BucketMissingError, match="'nowhere'"):
        run_scoring_job(settings, run_key="night", scans_uri="s3://nowhere/scans/")
    assert rows(settings, "select * from scan") == []


def test_an_unreachable_s3_is_named_with_the_remedy(settings: Settings) -> None:
    with pytest.raises(ObjectStoreUnreachableError, match=r"127\.0\.0\.1:9.*BRAINTUMOR_S3_ENDPOINT"):
        run_scoring_job(replace(settings, s3_endpoint="http://127.0.0.1:9"), run_key="night")


def test_an_s3_that_dies_in_the_night_leaves_scans_pending(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    chunks = night.plan(run.scoring_run_id)
    dead = replace(settings, s3_endpoint="http://127.0.0.1:9")
    with pytest.raises(ObjectStoreUnreachableError):
        ScoringJob.open(dead).score(run.scoring_run_id, chunks[0])
    assert rows(settings, "select state::text from scan") == [("pending",)]
    with pytest.raises(UnbalancedRunError):
        night.reconcile(run.scoring_run_id)
    assert night.score(run.scoring_run_id, chunks[0]) == {"scored": 1}
    assert night.reconcile(run.scoring_run_id).is_balanced


def test_an_unreachable_postgres_is_named_with_the_remedy(settings: Settings) -> None:
    with pytest.raises(DatabaseUnreachableError, match=r"Connection refused.*BRAINTUMOR_DATABASE_URL") as refusal:
        run_scoring_job(replace(settings, database_url="postgresql://u:secret@127.0.0.1:9/none"), run_key="night")
    assert "127.0.0.1" not in str(refusal.value)


def test_a_guessable_pseudonym_key_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="BRAINTUMOR_PSEUDONYM_KEY"):
        ScoringJob.open(replace(settings, pseudonym_key="short"))


def test_an_image_with_too_many_pixels_is_rejected_undecoded(settings: Settings, put: Put) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1, 20_000), np.uint8)).resize((20_000, 20_000)).save(buffer, "PNG")
    put("huge.png", buffer.getvalue())
    run_scoring_job(settings, run_key="night")
    assert rows(settings, "select reason from rejection") == [("too_many_pixels",)]


def test_a_lease_is_prolonged_while_its_chunk_is_at_work(
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
    monkeypatch.setattr(worker, "settle", watched)
    run_scoring_job(settings, run_key="night")
    assert prolonged == [(True,), (True,)], "where the step is committed, and where the chunk is closed"
