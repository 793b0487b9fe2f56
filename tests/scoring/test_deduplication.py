"""The same bytes under another key: asked once, answered twice, and said so. Another patient's picture is no copy."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from braintumor.config.settings import Settings
from braintumor.errors import ScoringRunError, StaleClaimError
from braintumor.scoring.explain import explain
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.lease import claim
from braintumor.serving.backend import LoadedModel
from tests.conftest import run_braintumor
from tests.images import png
from tests.models import add_model
from tests.sql import change, let_answer, rows

Put = Callable[[str, bytes], None]
ANSWERS = """
    select predicted_class, confidence, margin, probability_glioma, review_reasons, activation_map::text, engine,
           preprocessing, model_version_id, frame_index
    from prediction order by scan_id, frame_index"""
COPIES = "select scan_id, copied_from_scan_id from prediction order by scan_id"
FLAGGED = """
    select scan_id from current_prediction where 'same_content_other_patient' = any(review_reasons) order by scan_id"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of the model was about."""
    counts: list[int] = []
    submit = LoadedModel.submit

    def counted(self: LoadedModel, frames: object) -> object:
        counts.append(len(frames))  # type: ignore[arg-type]
        return submit(self, frames)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedModel, "submit", counted)
    return counts


def score(night: ScoringJob, run_key: str) -> list[dict[str, int]]:
    """One night; the workers' counts."""
    run, _ = night.begin(run_key=run_key)
    counts = [night.score(run.scoring_run_id, chunk) for chunk in night.plan(run.scoring_run_id)]
    assert night.reconcile(run.scoring_run_id).is_balanced
    return counts


def of_patient(source: Path, patient: str) -> bytes:
    """The same picture in a file of another patient."""
    dataset, buffer = pydicom.dcmread(source), io.BytesIO()
    dataset.PatientID = patient
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_two_copies_in_one_chunk_are_asked_once(settings: Settings, put: Put, asked: list[int]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        put(name, png())
    put("other.png", png(seed=6))
    assert score(ScoringJob.open(settings), "night") == [{"scored": 2, "copied": 2}]
    assert sum(asked) == 2
    assert rows(settings, COPIES) == [(1, None), (2, 1), (3, 1), (4, None)]
    first, second, third, other = rows(settings, ANSWERS)
    assert first == second == third != other
    assert rows(settings, "select state::text, count_frame, content_sha256 = (select content_sha256 from scan where "
                "scan_id = 1) from scan where scan_id = 3") == [("scored", 1, True)]  # fmt: skip


def test_a_copy_of_a_later_night_is_not_asked_and_names_the_first(
    settings: Settings, put: Put, asked: list[int]
) -> None:
    night = ScoringJob.open(settings)
    put("a.png", png())
    score(night, "first")
    for name in ("b.png", "c.png"):
        put(name, png())
        asked.clear()
        assert score(night, name) == [{"copied": 1}] and not asked
    assert rows(settings, COPIES) == [(1, None), (2, 1), (3, 1)]
    assert rows(settings, "select scoring_run_id from prediction order by scan_id") == [(1,), (2,), (3,)]
    said = run_braintumor(settings, "prediction", "explain", "3", "--replay").stdout
    assert "copied_from_scan_id: 1" in said and "run_key: c.png" in said and "is_match: True" in said
    assert "a copy: the model was asked about scan 1, which has the same bytes" in said
    assert explain(night.engine, 1)["copied_from_scan_id"] is None


@pytest.mark.parametrize("column", ["engine", "preprocessing"])
def test_other_ways_of_answering_are_not_taken_over(
    settings: Settings, put: Put, asked: list[int], column: str
) -> None:
    night = ScoringJob.open(settings)
    put("a.png", png())
    score(night, "first")
    change(settings, f"update prediction set {column} = 'other'")
    put("b.png", png())
    assert score(night, "second") == [{"scored": 1}]
    assert rows(settings, COPIES) == [(1, None), (2, None)]


def test_an_answer_of_another_model_is_not_taken_over(settings: Settings, put: Put) -> None:
    night = ScoringJob.open(settings)
    put("a.png", png())
    score(night, "first")
    put("b.png", png())
    run, _ = night.begin(run_key="second")
    other = add_model(settings, "other").model_version_id
    let_answer(settings, other)
    assert [night.score(run.scoring_run_id, chunk) for chunk in night.plan(run.scoring_run_id)] == [{"scored": 1}]


def test_every_frame_of_a_volume_is_taken_over_with_its_place(
    settings: Settings, put: Put, phantoms: Path, asked: list[int]
) -> None:
    volume = multi_frame(next(phantoms.rglob("*.dcm")), count=3)
    put("a.dcm", volume)
    put("b.dcm", volume)
    assert score(ScoringJob.open(settings), "night") == [{"scored": 1, "copied": 1}]
    assert sum(asked) == 3
    answers = rows(settings, ANSWERS)
    assert answers[:3] == answers[3:] and [answer[-1] for answer in answers[:3]] == [0, 1, 2]
    assert all("not_validated_on_volumes" in answer[4] for answer in answers)


def multi_frame(source: Path, *, count: int) -> bytes:
    dataset, buffer = pydicom.dcmread(source), io.BytesIO()
    dataset.PixelData = dataset.PixelData[: dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8] * count
    dataset.NumberOfFrames = count
    dataset.save_as(buffer)
    return buffer.getvalue()


class TestTheSamePictureOfTwoPatients:
    def test_is_scored_twice_and_both_are_first_on_the_worklist(
        self, settings: Settings, put: Put, phantoms: Path, asked: list[int]
    ) -> None:
        source = next(phantoms.rglob("*.dcm"))
        night = ScoringJob.open(settings)
        put("a.dcm", of_patient(source, "ann"))
        put("a again.dcm", of_patient(source, "ann"))
        put("picture.png", png())
        score(night, "first")
        assert rows(settings, FLAGGED) == []
        put("b.dcm", of_patient(source, "bob"))
        asked.clear()
        said = list[str]()
        run, _ = night.begin(run_key="second")
        assert [night.score(run.scoring_run_id, c) for c in night.plan(run.scoring_run_id)] == [{"scored": 1}]
        assert asked == [1]
        night.reconcile(run.scoring_run_id, say=said.append)
        assert "AMBER" in said[0] and "1 answered frames show a picture that is filed under two patients" in said[0]
        of_ann = [scan for (scan,) in rows(settings, "select scan_id from scan where format = 'dicom'"
                                           " and scan_id < 4 order by 1")]  # fmt: skip
        assert len(of_ann) == 2
        assert rows(settings, FLAGGED) == [(scan,) for scan in [*of_ann, 4]]
        assert rows(settings, FLAGGED.replace("current_prediction", "scan_prediction")) == rows(settings, FLAGGED)
        assert rows(settings, "select review_reasons from prediction where 'same_content_other_patient' "
                    "= any(review_reasons)") == []  # fmt: skip
        ((for_review,),) = rows(settings, "select sum(count_for_review) from daily_summary")
        assert for_review >= 3

    def test_in_one_chunk_is_scored_twice(self, settings: Settings, put: Put, phantoms: Path, asked: list[int]) -> None:
        source = next(phantoms.rglob("*.dcm"))
        put("a.dcm", of_patient(source, "ann"))
        put("b.dcm", of_patient(source, "bob"))
        assert score(ScoringJob.open(settings), "night") == [{"scored": 2}]
        assert rows(settings, FLAGGED) == [(1,), (2,)]

    def test_by_the_very_same_bytes_is_no_copy_either(self, settings: Settings, put: Put, phantoms: Path) -> None:
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
    def test_a_stale_worker_writes_no_copy(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        put("b.png", png())
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="night")
        (chunk,) = night.plan(run.scoring_run_id)
        loaded, overtaken = night._loaded(run)[0], list[object]()
        submit = loaded.submit

        def slow(frames: object) -> object:
            if not overtaken:
                overtaken.append(claim(night.engine, run, chunk))
            return submit(frames)  # type: ignore[arg-type]

        object.__setattr__(loaded, "submit", slow)
        with pytest.raises(StaleClaimError):
            night.score(run.scoring_run_id, chunk)
        assert rows(settings, "select * from prediction") == []
        assert night.score(run.scoring_run_id, chunk) == {"scored": 1, "copied": 1}
        assert night.reconcile(run.scoring_run_id).count_scored == 2

    def test_a_copy_whose_original_goes_meanwhile_is_scored_by_the_retry(
        self, settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from braintumor.scoring import worker

        put("a.png", png())
        night = ScoringJob.open(settings)
        score(night, "first")
        put("b.png", png())
        run, _ = night.begin(run_key="second")
        (chunk,) = night.plan(run.scoring_run_id)
        settle = worker.settle

        def late(*arguments: object, **more: object) -> None:
            change(settings, "delete from prediction")
            settle(*arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(worker, "settle", late)
        with pytest.raises(ScoringRunError, match="were removed meanwhile"):
            night.score(run.scoring_run_id, chunk)
        assert rows(settings, "select state::text from scan order by scan_id") == [("scored",), ("pending",)]
        monkeypatch.undo()
        assert night.score(run.scoring_run_id, chunk) == {"scored": 1}

    def test_a_deleted_copy_turns_the_night_red(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        put("b.png", png())
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="night")
        night.score(run.scoring_run_id, *night.plan(run.scoring_run_id))
        change(settings, "delete from prediction where copied_from_scan_id is not null")
        with pytest.raises(ScoringRunError, match="1 UNACCOUNTED"):
            night.reconcile(run.scoring_run_id)
