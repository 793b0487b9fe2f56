"""What a person who is asked to approve sees of production: which answers would change, and nothing in silence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ModelIntegrityError, ObjectStoreUnreachableError
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.labels import CLASSES
from braintumor.preview.flips import FlipKind, FlipPreview
from braintumor.preview.job import PreviewResult, make_preview, preview_candidate
from braintumor.preview.page import summary
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.scored_scans import Unread
from tests.faulty_s3 import FaultyS3
from tests.models import add_model
from tests.runs import remove
from tests.sql import READERS, change, let_answer, rows, say

GLIOMA, MENINGIOMA, NORMAL, PITUITARY = CLASSES
NAMES = tuple(f"surname-{number}.png" for number in range(1, 7))


@pytest.fixture
def night(settings: Settings, put: Callable[[str, bytes], None], tmp_path: Path) -> Settings:
    """A world whose champion answered six scans, 1 to 6."""
    for name, path in zip(NAMES, write_unlabeled(tmp_path / "night", count=6, seed=4), strict=True):
        put(name, path.read_bytes())
    run_scoring_job(settings, run_key="night")
    return settings


@pytest.fixture
def twin(settings: Settings) -> ModelVersion:
    """A candidate that answers as the champion does: the same files, recorded again."""
    return add_model(settings, "twin")


def preview(
    settings: Settings, candidate: ModelVersion, *, scans: int = 500, run_key: str = "retrain"
) -> PreviewResult:
    engine = database.connect(settings)
    try:
        champion = model_versions.find_champion(engine)
        return make_preview(engine, settings, candidate=candidate, champion=champion, scans=scans, run_key=run_key)
    finally:
        engine.dispose()


def page_of(settings: Settings, made: PreviewResult) -> str:
    return ObjectStore.connect(settings).read(made.page).decode()


def flipped(night: Settings, twin: ModelVersion) -> PreviewResult:
    """Five of six answers change: two tumors become normal, one normal a tumor, two tumors another one."""
    preview(night, twin)
    for scan_id, before, sure_before, after, sure_after in (
        (1, GLIOMA, 0.90, MENINGIOMA, 0.99),
        (2, GLIOMA, 0.60, NORMAL, 0.55),
        (3, NORMAL, 0.95, GLIOMA, 0.99),
        (4, PITUITARY, 0.98, NORMAL, 0.97),
        (5, MENINGIOMA, 0.97, PITUITARY, 0.99),
        (6, NORMAL, 0.80, NORMAL, 0.70),
    ):
        say(night, "prediction", scan_id, before, sure_before)
        say(night, "shadow_prediction", scan_id, after, sure_after)
    return preview(night, twin)


def test_a_model_that_answers_as_the_champion_does_changes_nothing_and_its_answers_stay_in_the_shadow(
    night: Settings, twin: ModelVersion
) -> None:
    before = rows(night, "select * from current_prediction order by scan_id")
    made = preview(night, twin).preview
    assert (made.count_compared, made.count_flip) == (6, 0)
    assert summary(made).endswith("None of 6 answers would change.")
    pairs = rows(
        night,
        """
        select shadow_prediction.confidence - prediction.confidence,
               shadow_prediction.activation_map = prediction.activation_map
        from shadow_prediction join prediction using (scan_id, frame_index)
        where shadow_prediction.model_version_id = :twin""",
        twin=twin.model_version_id,
    )
    assert pairs == [(pytest.approx(0, abs=1e-6), True)] * 6
    assert rows(night, "select * from current_prediction order by scan_id") == before


def test_what_would_change_is_listed_worst_first(night: Settings, twin: ModelVersion) -> None:
    made = flipped(night, twin).preview
    assert [flip.scan_id for flip in made.flips] == [4, 2, 3, 5, 1]
    assert made.by_kind == {FlipKind.TO_NORMAL: 2, FlipKind.TO_TUMOR: 1, FlipKind.TO_OTHER_TUMOR: 2}
    assert [transition.is_flip for transition in made.transitions] == [True] * 5 + [False]
    assert (
        "5 of 6 answers would change (83.3%): 2 tumor to normal, 1 normal to tumor, 2 tumor to another tumor."
    ) in summary(made)
    recorded = "select scan_id from page_scan join page using (page_uri) order by 1"
    assert rows(night, recorded) == [(1,), (2,), (3,), (4,), (5,)], "an erasure finds the page by these"


def test_the_page_shows_each_flip_with_both_maps_and_never_a_key(night: Settings, twin: ModelVersion) -> None:
    made = flipped(night, twin)
    page = page_of(night, made)
    places = [page.index(f"Scan {scan_id}: ") for scan_id in (4, 2, 3, 5, 1)]
    assert places == sorted(places) and "Scan 6" not in page
    assert page.count("data:image/jpeg;base64,") == 3 * 5
    assert "champion: pituitary 0.980" in page and "candidate: normal 0.970" in page
    assert "surname" not in page and not re.search(r'(src|href)="(?!data:)', page)
    assert "For review, not for diagnosis" in page and twin.model_name in page


def test_a_page_shows_some_and_counts_the_rest(
    night: Settings, twin: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braintumor.preview.job.SHOWN_FLIPS", 2)
    page = page_of(night, flipped(night, twin))
    assert page.count("data:image/jpeg") == 3 * 2
    assert "2 of 2 shown" in page and "3 more answers would change and are not shown" in page


def test_the_newest_scans_are_taken_and_a_second_look_scores_only_what_is_missing(
    night: Settings, twin: ModelVersion
) -> None:
    change(night, "update scan set processed_at = now() - make_interval(days => scan_id::int)")
    assert preview(night, twin, scans=2, run_key="first").preview.count_compared == 2
    assert rows(night, "select scan_id from shadow_prediction order by 1") == [(1,), (2,)]
    assert preview(night, twin, scans=4, run_key="second").preview.count_compared == 4
    asked = rows(night, "select scan_id, run_key from shadow_prediction order by 1")
    assert asked == [(1, "first"), (2, "first"), (3, "second"), (4, "second")]


def test_objects_that_vanished_or_changed_are_said_and_stop_nothing(
    night: Settings, twin: ModelVersion, put: Callable[[str, bytes], None]
) -> None:
    remove(night, NAMES[0])
    put(NAMES[1], b"other bytes")
    made = preview(night, twin).preview
    assert (made.count_scan, made.count_compared, dict(made.unread)) == (6, 4, {Unread.GONE: 2})
    assert "2 gone or overwritten since." in summary(made)


def test_a_flip_whose_object_vanished_afterwards_is_listed_without_pictures(
    night: Settings, twin: ModelVersion
) -> None:
    flipped(night, twin)
    remove(night, NAMES[3])
    page = page_of(night, preview(night, twin))
    assert page.count("data:image/jpeg") == 3 * 4
    assert "pituitary 0.980 now, normal 0.970 then. No picture: the object is gone or overwritten since." in page


def test_one_object_that_s3_cannot_deliver_is_said_and_an_s3_that_is_away_is_tried_again(
    night: Settings, twin: ModelVersion, door: FaultyS3
) -> None:
    through = replace(night, s3_endpoint=door.url)
    door.faults = {NAMES[2]: (500, "InternalError")}
    made = preview(through, twin, scans=4).preview
    assert (made.count_compared, dict(made.unread)) == (3, {Unread.UNDELIVERED: 1})
    door.faults = {"surname": (503, "SlowDown")}
    with pytest.raises(ObjectStoreUnreachableError, match="What was scored is kept"):
        preview(through, twin)
    door.faults = {}
    assert preview(through, twin).preview.count_compared == 6


def test_a_tampered_candidate_answers_nothing(night: Settings, tmp_path: Path) -> None:
    twin = add_model(night, "own", own_files=True)
    ObjectStore.connect(night).write(S3Uri.parse(twin.artifact_uri) / "model.bin", b"other weights")
    with pytest.raises(ModelIntegrityError):
        preview(replace(night, cache_folder=str(tmp_path / "cache")), twin)
    assert rows(night, "select * from shadow_prediction") == []


def test_nothing_to_compare_is_said_and_why(settings: Settings, twin: ModelVersion, night_of_another: None) -> None:
    assert "has answered no scan yet" in summary(preview(settings, twin).preview)


@pytest.fixture
def night_of_another(night: Settings, twin: ModelVersion) -> None:
    """The champion's answers become those of a model before it."""
    let_answer(night, twin.model_version_id)


def test_before_the_first_scan_there_is_nothing_to_compare(settings: Settings, twin: ModelVersion) -> None:
    made = preview(settings, twin)
    assert summary(made.preview) == "Nothing to compare: no scan has been scored yet."
    assert "no scan has been scored yet" in page_of(settings, made)
    assert "was asked for no scan" in summary(preview(settings, twin, scans=0).preview)


def test_an_empty_preview_without_a_champion_says_so() -> None:
    assert summary(FlipPreview(candidate="a", why_nothing="there is no champion")).endswith("there is no champion.")


def test_the_words_for_an_approver_link_to_the_runs_page_and_stay_small(night: Settings, twin: ModelVersion) -> None:
    ((verdict,),) = rows(
        night,
        """
        insert into gate_verdict (run_key, model_version_id, champion_model_version_id, is_passed, rules, summary)
        select 'manual__2026-11-24T15:54:21+00:00', :twin, (select model_version_id from champion), true, '{}', 'Passed'
        returning gate_verdict_id""",
        twin=twin.model_version_id,
    )
    preview(night, twin)
    say(night, "shadow_prediction", 4, NORMAL, 0.97)
    say(night, "prediction", 4, GLIOMA, 0.97)
    made = preview_candidate(night, verdict, reports_url="https://airflow/braintumor/reports")
    assert (made["count_compared"], made["count_flip"]) == (6, 1)
    assert "| glioma | normal | 1 |" in made["markdown"]
    path = "runs/manual__2026-11-24T15-54-21-00-00/flip_preview.html"
    assert f"(https://airflow/braintumor/reports/{path})" in made["markdown"]
    assert made["page_uri"].endswith(path)
    assert len(str(made)) < 2000 and "surname" not in str(made)


def test_no_view_of_answers_reads_the_shadow(settings: Settings) -> None:
    assert ("current_prediction",) in rows(settings, READERS, table="braintumor.prediction")
    assert rows(settings, READERS, table="braintumor.shadow_prediction") == []
    bodies = rows(
        settings,
        """
        select proname from pg_proc
        where pronamespace = 'braintumor'::regnamespace and prosrc ilike '%shadow_prediction%'""",
    )
    assert bodies == [("erase_subject",)], "an erasure deletes there too, and answers nothing from it"
