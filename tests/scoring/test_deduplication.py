"""Test that duplicates are predicted once and copied, but never from another patient."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from braintumor.config.settings import Settings
from braintumor.errors import ScoringRunError, StaleClaimError
from braintumor.scoring import worker
from braintumor.scoring.commit import commit_outcomes
from braintumor.scoring.explain import explain
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.lease import claim
from braintumor.serving.backend import LoadedModel
from tests.conftest import Put, printed
from tests.images import png
from tests.models import add_model
from tests.sql import assign_predictions, change, rows

ANSWERS = """
    select predicted_class, confidence, margin, probability_glioma, review_reasons, activation_map::text, engine,
           preprocessing, model_version_id, frame_index
    from prediction order by scan_id, frame_index"""
COPIES = "select scan_id, copied_from_scan_id from prediction order by scan_id"
FLAGGED = """
    select scan_id from current_prediction where 'same_content_other_patient' = any(review_reasons) order by scan_id"""


@pytest.fixture
def predicted_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of frames of each call of the model."""
    counts: list[int] = []
    submit = LoadedModel.submit

    def counted(self: LoadedModel, frames: object) -> object:
        counts.append(len(frames))  # type: ignore[arg-type]
        return submit(self, frames)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedModel, "submit", counted)
    return counts


def score(job: ScoringJob, run_key: str) -> list[dict[str, int]]:
    """Score a run, and return the counts of its chunks."""
    run, _ = job.begin(run_key=run_key)
    counts = [job.score(run.scoring_run_id, chunk) for chunk in job.plan(run.scoring_run_id)]
    assert job.reconcile(run.scoring_run_id).is_balanced
    return counts


def of_patient(source: Path, patient: str) -> bytes:
    """Write the same image as a file of another patient."""
    dataset, buffer = pydicom.dcmread(source), io.BytesIO()
    dataset.PatientID = patient
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_duplicates_in_one_chunk_are_predicted_once(settings: Settings, put: Put, predicted_frames: list[int]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(name, png())
    put("other.png", png(seed=6))
    assert score(ScoringJob.open(settings), "night") == [{"scored": 2, "copied": 2}]
    assert sum(predicted_frames) == 2
    assert rows(settings, COPIES) == [(1, None), (2, 1), (3, 1), (4, None)]
    first, second, third, other = rows(settings, ANSWERS)
    assert first == second == third != other
    assert rows(settings, "select state::text, count_frame, content_sha256 = (select content_sha256 from scan where "
                "scan_id = 1) from scan where scan_id = 3") == [("scored", 1, True)]  # fmt: skip


def test_later_duplicate_is_copied_and_names_its_original(
    settings: Settings, put: Put, predicted_frames: list[int]
) -> None:
    job = ScoringJob.open(settings)
    put("a.png", png())
    score(job, "first")
    for name in ("b.png", "c.png"):
        put(name, png())
        predicted_frames.clear()
        assert score(job, name) == [{"copied": 1}] and not predicted_frames
    assert rows(settings, COPIES) == [(1, None), (2, 1), (3, 1)]
    assert rows(settings, "select scoring_run_id from prediction order by scan_id") == [(1,), (2,), (3,)]
    lines = printed(settings, "prediction", "explain", "3", "--replay")
    assert "copied_from_scan_id: 1" in lines and "run_key: c.png" in lines and "is_match: True" in lines
    assert "a duplicate: the model scored scan 1, which has the same bytes" in lines
    assert explain(job.engine, 1)["copied_from_scan_id"] is None


@pytest.mark.parametrize("column", ["engine", "preprocessing"])
def test_other_backend_or_preprocessing_is_not_copied(
    settings: Settings, put: Put, predicted_frames: list[int], column: str
) -> None:
    job = ScoringJob.open(settings)
    put("a.png", png())
    score(job, "first")
    change(settings, f"update prediction set {column} = 'other'")
    put("b.png", png())
    assert score(job, "second") == [{"scored": 1}]
    assert rows(settings, COPIES) == [(1, None), (2, None)]


def test_prediction_of_another_model_is_not_copied(settings: Settings, put: Put) -> None:
    job = ScoringJob.open(settings)
    put("a.png", png())
    score(job, "first")
    put("b.png", png())
    run, _ = job.begin(run_key="second")
    other = add_model(settings, "other").model_version_id
    assign_predictions(settings, other)
    assert [job.score(run.scoring_run_id, chunk) for chunk in job.plan(run.scoring_run_id)] == [{"scored": 1}]


def test_all_frames_of_a_volume_are_copied_with_index(
    settings: Settings, put: Put, phantoms: Path, predicted_frames: list[int]
) -> None:
    volume = multi_frame(next(phantoms.rglob("*.dcm")), count=3)
    put("a.dcm", volume)
    put("b.dcm", volume)
    assert score(ScoringJob.open(settings), "night") == [{"scored": 1, "copied": 1}]
    assert sum(predicted_frames) == 3
    answers = rows(settings, ANSWERS)
    assert answers[:3] == answers[3:] and [answer[-1] for answer in answers[:3]] == [0, 1, 2]
    assert all("not_validated_on_volumes" in answer[4] for answer in answers)


def multi_frame(source: Path, *, count: int) -> bytes:
    dataset, buffer = pydicom.dcmread(source), io.BytesIO()
    dataset.PixelData = dataset.PixelData[: dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8] * count
    dataset.NumberOfFrames = count
    dataset.save_as(buffer)
    return buffer.getvalue()


class TestSameImageOfTwoPatients:
    def test_is_scored_twice_and_both_lead_the_worklist(
        self, settings: Settings, put: Put, phantoms: Path, predicted_frames: list[int]
    ) -> None:
        source = next(phantoms.rglob("*.dcm"))
        job = ScoringJob.open(settings)
        put("a.dcm", of_patient(source, "ann"))
        put("a again.dcm", of_patient(source, "ann"))
        put("image.png", png())
        score(job, "first")
        assert rows(settings, FLAGGED) == []
        put("b.dcm", of_patient(source, "bob"))
        predicted_frames.clear()
        lines = list[str]()
        run, _ = job.begin(run_key="second")
        assert [job.score(run.scoring_run_id, c) for c in job.plan(run.scoring_run_id)] == [{"scored": 1}]
        assert predicted_frames == [1]
        job.reconcile(run.scoring_run_id, progress=lines.append)
        assert "AMBER" in lines[0] and "1 scored frames show an image that has two patients" in lines[0]
        of_ann = [scan for (scan,) in rows(settings, "select scan_id from scan where format = 'dicom'"
                                           " and scan_id < 4 order by 1")]  # fmt: skip
        assert len(of_ann) == 2
        assert rows(settings, FLAGGED) == [(scan,) for scan in [*of_ann, 4]]
        assert rows(settings, FLAGGED.replace("current_prediction", "scan_prediction")) == rows(settings, FLAGGED)
        assert rows(settings, "select review_reasons from prediction where 'same_content_other_patient' "
                    "= any(review_reasons)") == []  # fmt: skip
        ((for_review,),) = rows(settings, "select sum(count_for_review) from daily_summary")
        assert for_review >= 3

    def test_in_one_chunk_is_scored_twice(
        self, settings: Settings, put: Put, phantoms: Path, predicted_frames: list[int]
    ) -> None:
        source = next(phantoms.rglob("*.dcm"))
        put("a.dcm", of_patient(source, "ann"))
        put("b.dcm", of_patient(source, "bob"))
        assert score(ScoringJob.open(settings), "night") == [{"scored": 2}]
        assert rows(settings, FLAGGED) == [(1,), (2,)]

    def test_with_identical_bytes_is_not_copied(self, settings: Settings, put: Put, phantoms: Path) -> None:
        data = next(phantoms.rglob("*.dcm")).read_bytes()
        put("a.dcm", data)
        score(ScoringJob.open(settings), "first")
        put("b.dcm", data)
        other_key = replace(settings, pseudonym_key="k" * 32)
        assert score(ScoringJob.open(other_key), "second") == [{"scored": 1}]
        assert rows(settings, FLAGGED) == [(1,), (2,)]
        put("c.dcm", data)
        assert score(ScoringJob.open(settings), "third") == [{"scored": 1}]


class TestExactlyOnce:
    def test_stale_worker_copies_nothing(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        put("b.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="night")
        (chunk,) = job.plan(run.scoring_run_id)
        loaded, overtaken = job._loaded(run)[0], list[object]()
        submit = loaded.submit

        def slow(frames: object) -> object:
            if not overtaken:
                overtaken.append(claim(job.engine, run, chunk))
            return submit(frames)  # type: ignore[arg-type]

        object.__setattr__(loaded, "submit", slow)
        with pytest.raises(StaleClaimError):
            job.score(run.scoring_run_id, chunk)
        assert rows(settings, "select * from prediction") == []
        assert job.score(run.scoring_run_id, chunk) == {"scored": 1, "copied": 1}
        assert job.reconcile(run.scoring_run_id).count_scored == 2

    def test_retry_scores_duplicate_whose_original_was_deleted(
        self, settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
    ) -> None:

        put("a.png", png())
        job = ScoringJob.open(settings)
        score(job, "first")
        put("b.png", png())
        run, _ = job.begin(run_key="second")
        (chunk,) = job.plan(run.scoring_run_id)

        def late(*arguments: object, **more: object) -> None:
            change(settings, "delete from prediction")
            commit_outcomes(*arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(worker, "commit_outcomes", late)
        with pytest.raises(ScoringRunError, match="were deleted before"):
            job.score(run.scoring_run_id, chunk)
        assert rows(settings, "select state::text from scan order by scan_id") == [("scored",), ("pending",)]
        monkeypatch.undo()
        assert job.score(run.scoring_run_id, chunk) == {"scored": 1}

    def test_deleted_copied_prediction_makes_the_run_red(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        put("b.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="night")
        job.score(run.scoring_run_id, *job.plan(run.scoring_run_id))
        change(settings, "delete from prediction where copied_from_scan_id is not null")
        with pytest.raises(ScoringRunError, match="1 UNACCOUNTED"):
            job.reconcile(run.scoring_run_id)
