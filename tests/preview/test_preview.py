"""Test the flip preview that an approver sees: the changes, and the scans that could not be compared."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ModelIntegrityError, ObjectStoreUnreachableError
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.labels import CLASSES
from braintumor.preview.job import PreviewResult, make_preview, preview_candidate
from braintumor.preview.page import summary, to_markdown
from braintumor.preview.prediction_changes import FlipKind, FlipPreview
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from braintumor.scoring.reading import ReadFailure
from tests.conftest import Put
from tests.faulty_s3 import FaultyS3
from tests.models import add_model
from tests.runs import remove
from tests.sql import READERS, assign_predictions, change, rows, set_prediction

GLIOMA, MENINGIOMA, NORMAL, PITUITARY = CLASSES
SECTIONS = ("tumor-to-normal", "normal-to-tumor", "tumor-to-another-tumor")
NAMES = tuple(f"surname-{number}.png" for number in range(1, 7))


@pytest.fixture
def scored(settings: Settings, put: Put, tmp_path: Path) -> Settings:
    """Settings whose champion scored six scans, 1 to 6."""
    for name, path in zip(NAMES, write_unlabeled(tmp_path / "night", count=6, seed=4), strict=True):
        put(name, path.read_bytes())
    run_scoring_job(settings, run_key="night")
    return settings


@pytest.fixture
def candidate(settings: Settings) -> ModelVersion:
    """Register a candidate that predicts like the champion, because it has the same files."""
    return add_model(settings, "candidate")


def preview(
    settings: Settings, candidate: ModelVersion, *, scans: int = 500, run_key: str = "retrain"
) -> PreviewResult:
    engine = database.connect(settings)
    try:
        champion = model_versions.find_champion(engine)
        return make_preview(engine, settings, candidate=candidate, champion=champion, scans=scans, run_key=run_key)
    finally:
        engine.dispose()


def page_of(settings: Settings, result: PreviewResult) -> str:
    return ObjectStore.connect(settings).read(result.page).decode()


def flipped(scored: Settings, candidate: ModelVersion) -> PreviewResult:
    """Change five of six predictions: two tumors to normal, one normal to a tumor, two tumors to another tumor."""
    preview(scored, candidate)
    for scan_id, before, sure_before, after, sure_after in (
        (1, GLIOMA, 0.90, MENINGIOMA, 0.99),
        (2, GLIOMA, 0.60, NORMAL, 0.55),
        (3, NORMAL, 0.95, GLIOMA, 0.99),
        (4, PITUITARY, 0.98, NORMAL, 0.97),
        (5, MENINGIOMA, 0.97, PITUITARY, 0.99),
        (6, NORMAL, 0.80, NORMAL, 0.70),
    ):
        set_prediction(scored, "prediction", scan_id, before, sure_before)
        set_prediction(scored, "shadow_prediction", scan_id, after, sure_after)
    return preview(scored, candidate)


def test_equal_candidate_changes_no_current_prediction(scored: Settings, candidate: ModelVersion) -> None:
    before = rows(scored, "select * from current_prediction order by scan_id")
    result = preview(scored, candidate).preview
    assert (result.count_compared, result.count_flip) == (6, 0)
    assert summary(result).startswith("None of 6 predictions would change: the candidate predicts the same classes")
    pairs = rows(
        scored,
        """
        select shadow_prediction.confidence - prediction.confidence,
               shadow_prediction.activation_map = prediction.activation_map
        from shadow_prediction join prediction using (scan_id, frame_index)
        where shadow_prediction.model_version_id = :candidate""",
        candidate=candidate.model_version_id,
    )
    assert pairs == [(pytest.approx(0, abs=1e-6), True)] * 6
    assert rows(scored, "select * from current_prediction order by scan_id") == before


def test_flips_are_listed_worst_first(scored: Settings, candidate: ModelVersion) -> None:
    result = flipped(scored, candidate).preview
    assert [flip.scan_id for flip in result.flips] == [4, 2, 3, 5, 1]
    assert result.by_kind == {FlipKind.TO_NORMAL: 2, FlipKind.TO_TUMOR: 1, FlipKind.TO_OTHER_TUMOR: 2}
    assert [transition.is_flip for transition in result.transitions] == [True] * 5 + [False]
    assert summary(result).startswith(
        "5 of 6 predictions would change: 2 tumor to normal, 1 normal to tumor, 2 tumor to another tumor."
    )
    recorded = "select scan_id from page_scan join page using (page_uri) order by 1"
    assert rows(scored, recorded) == [(1,), (2,), (3,), (4,), (5,)], "an erasure finds the page by these rows"


def test_page_shows_both_maps_of_each_flip_without_keys(scored: Settings, candidate: ModelVersion) -> None:
    result = flipped(scored, candidate)
    page = page_of(scored, result)
    places = [page.index(f"Scan {scan_id}: ") for scan_id in (4, 2, 3, 5, 1)]
    assert places == sorted(places) and "Scan 6" not in page
    assert page.count("data:image/jpeg;base64,") == 3 * 5
    assert "champion: pituitary 0.980" in page and "candidate: normal 0.970" in page
    assert "surname" not in page and not re.search(r'src="(?!data:)', page)
    assert set(re.findall(r'href="([^"]+)"', page)) == {
        "../../", "../../model/candidate/report.html", "comparison.html"
    }  # fmt: skip
    assert all(f'<section id="{name}">' in page for name in SECTIONS), "the approver's question links to these"
    assert "For review, not for diagnosis" in page and candidate.model_name in page


def test_page_counts_the_flips_that_it_does_not_show(
    scored: Settings, candidate: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braintumor.preview.job.SHOWN_FLIPS", 2)
    page = page_of(scored, flipped(scored, candidate))
    assert page.count("data:image/jpeg") == 3 * 2
    assert "2 of 2 shown" in page and "3 more predictions would change and are not shown" in page


def test_second_preview_scores_only_missing_newest_scans(scored: Settings, candidate: ModelVersion) -> None:
    change(scored, "update scan set processed_at = now() - make_interval(days => scan_id::int)")
    assert preview(scored, candidate, scans=2, run_key="first").preview.count_compared == 2
    assert rows(scored, "select scan_id from shadow_prediction order by 1") == [(1,), (2,)]
    assert preview(scored, candidate, scans=4, run_key="second").preview.count_compared == 4
    shadow_rows = rows(scored, "select scan_id, run_key from shadow_prediction order by 1")
    assert shadow_rows == [(1, "first"), (2, "first"), (3, "second"), (4, "second")]


def test_vanished_or_changed_objects_are_counted(scored: Settings, candidate: ModelVersion, put: Put) -> None:
    remove(scored, NAMES[0])
    put(NAMES[1], b"other bytes")
    result = preview(scored, candidate).preview
    assert (result.count_scan, result.count_compared, dict(result.failures)) == (6, 4, {ReadFailure.GONE: 2})
    assert "2 gone or overwritten since." in summary(result)


def test_flip_of_a_vanished_object_has_no_images(scored: Settings, candidate: ModelVersion) -> None:
    flipped(scored, candidate)
    remove(scored, NAMES[3])
    page = page_of(scored, preview(scored, candidate))
    assert page.count("data:image/jpeg") == 3 * 4
    assert "pituitary 0.980 now, normal 0.970 then. No image: the object is gone or overwritten since." in page


def test_undelivered_object_is_counted_s3_failure_is_retried(
    scored: Settings, candidate: ModelVersion, s3_proxy: FaultyS3
) -> None:
    proxied = replace(scored, s3_endpoint=s3_proxy.url)
    s3_proxy.faults = {NAMES[2]: (500, "InternalError")}
    result = preview(proxied, candidate, scans=4).preview
    assert (result.count_compared, dict(result.failures)) == (3, {ReadFailure.UNDELIVERED: 1})
    s3_proxy.faults = {"surname": (503, "SlowDown")}
    with pytest.raises(ObjectStoreUnreachableError, match="The committed scans are kept"):
        preview(proxied, candidate)
    s3_proxy.faults = {}
    assert preview(proxied, candidate).preview.count_compared == 6


def test_tampered_candidate_writes_no_prediction(scored: Settings, tmp_path: Path) -> None:
    candidate = add_model(scored, "own", own_files=True)
    ObjectStore.connect(scored).write(S3Uri.parse(candidate.artifact_uri) / "model.bin", b"other weights")
    with pytest.raises(ModelIntegrityError):
        preview(replace(scored, cache_folder=str(tmp_path / "cache")), candidate)
    assert rows(scored, "select * from shadow_prediction") == []


def test_summary_says_why_nothing_was_compared(
    settings: Settings, candidate: ModelVersion, scans_of_another_model: None
) -> None:
    assert "has scored no scan yet" in summary(preview(settings, candidate).preview)


@pytest.fixture
def scans_of_another_model(scored: Settings, candidate: ModelVersion) -> None:
    """Assign the champion's predictions to an earlier model."""
    assign_predictions(scored, candidate.model_version_id)


def test_without_scored_scans_nothing_is_compared(settings: Settings, candidate: ModelVersion) -> None:
    result = preview(settings, candidate)
    assert summary(result.preview) == "Nothing to compare: no scan has been scored yet."
    assert "no scan has been scored yet" in page_of(settings, result)
    assert "was requested for 0 scans" in summary(preview(settings, candidate, scans=0).preview)


def test_summary_without_champion_says_so() -> None:
    assert summary(FlipPreview(candidate="a", why_nothing="there is no champion")).endswith("there is no champion.")


def test_question_starts_with_changes_and_links(scored: Settings, candidate: ModelVersion) -> None:
    result = flipped(scored, candidate).preview
    links = {"Report of candidate": "https://airflow/report"}
    lines = to_markdown(result, address="https://airflow/flips", links=links).splitlines()
    assert lines[0] == (
        "**5 of 6 predictions would change: [2 tumor to normal](https://airflow/flips#tumor-to-normal), "
        "[1 normal to tumor](https://airflow/flips#normal-to-tumor), "
        "[2 tumor to another tumor](https://airflow/flips#tumor-to-another-tumor).**"
    )
    assert lines[-1].endswith("(https://airflow/flips) · [Report of candidate](https://airflow/report)")
    assert "](" not in to_markdown(result)


def test_approver_text_links_to_the_page_and_is_short(scored: Settings, candidate: ModelVersion) -> None:
    ((verdict,),) = rows(
        scored,
        """
        insert into gate_verdict (run_key, model_version_id, champion_model_version_id, is_passed, rules, summary)
        select
            'manual__2026-11-24T15:54:21+00:00', :candidate, (select model_version_id from champion), true, '{}',
            'Passed'
        returning gate_verdict_id""",
        candidate=candidate.model_version_id,
    )
    preview(scored, candidate)
    set_prediction(scored, "shadow_prediction", 4, NORMAL, 0.97)
    set_prediction(scored, "prediction", 4, GLIOMA, 0.97)
    result = preview_candidate(scored, verdict, reports_url="https://airflow/braintumor/reports")
    assert (result["count_compared"], result["count_flip"]) == (6, 1)
    assert "would change: [1 tumor to normal](" in result["markdown"] and "](" not in result["summary"]
    path = "runs/manual__2026-11-24T15-54-21-00-00/flip_preview.html"
    assert f"(https://airflow/braintumor/reports/{path})" in result["markdown"]
    assert result["page_uri"].endswith(path)
    assert len(str(result)) < 2000 and "surname" not in str(result)


def test_no_view_of_predictions_reads_shadow_predictions(settings: Settings) -> None:
    assert ("current_prediction",) in rows(settings, READERS, table="braintumor.prediction")
    assert rows(settings, READERS, table="braintumor.shadow_prediction") == []
    bodies = rows(
        settings,
        """
        select proname from pg_proc
        where pronamespace = 'braintumor'::regnamespace and prosrc ilike '%shadow_prediction%'""",
    )
    assert bodies == [("erase_subject",)], "an erasure deletes there too, and reads no prediction"
