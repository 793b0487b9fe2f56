"""Test the worklist, the reviews and the images of the review page on real rows and objects."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import ConfigurationError, ObjectChangedError, ReviewError
from braintumor.labels import CLASSES, TumorClass
from braintumor.review.dashboard import load_dashboard
from braintumor.review.decisions import retract_review, save_review
from braintumor.review.finding import Finding
from braintumor.review.images import THUMBNAIL, frame_png, map_png
from braintumor.review.page import Caller, dashboard_page, frame_page, worklist_page
from braintumor.review.session import start_session
from braintumor.review.shown_images import may_review, record_shown
from braintumor.review.worklist import AUDIT, Filters, count_waiting, list_choices, list_worklist
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.prediction import ReviewReason
from tests.images import png
from tests.review.conftest import AUDITED
from tests.reviews import given, read
from tests.sql import change, rows

ANN = Caller(person="ann", is_reviewer=True, base="/r/")


def waiting(engine: Engine, filters: Filters | None = None, person: str = "ann") -> list[int]:
    return [each.scan_id for each in list_worklist(engine, filters or Filters(), person=person)]


def test_riskiest_scans_wait_first_until_they_are_reviewed(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{}', predicted_class = 'normal', confidence = 0.99")
    change(scored, "update prediction set review_reasons = '{several_classes}' where scan_id = 3")
    change(scored, "update prediction set review_reasons = '{out_of_distribution}' where scan_id = 5")
    change(scored, "update prediction set predicted_class = 'glioma' where scan_id = 2")
    assert waiting(engine) == [5, 3, 2, 1, 6], "each scan once, and none of the audit sample"
    save_review(engine, given(5, Finding.CANNOT_TELL), person="ann")
    assert waiting(engine) == [3, 2, 1, 6]
    assert waiting(engine, person="bob") == [5, 3, 2, 1, 6], "cannot_tell is not a finding for others"
    assert retract_review(engine, person="ann") is not None
    assert waiting(engine) == [5, 3, 2, 1, 6]


def test_volume_waits_with_its_riskiest_slice(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{several_classes}' where scan_id = 6 and frame_index = 5")
    change(scored, "update prediction set review_reasons = '{}' where scan_id = 6 and frame_index <> 5")
    (volume,) = (each for each in list_worklist(engine, Filters(), person="ann") if each.scan_id == 6)
    assert volume.frame_index == 5
    assert [scan for scan, _ in read(engine, 6, frame=5).slices] == [6] * len(read(engine, 6, frame=5).slices)
    assert (6, 5) in read(engine, 6, frame=5).slices and len(read(engine, 6, frame=5).slices) > 5


def test_unusable_slice_leaves_the_other_slices_waiting(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{several_classes}' where scan_id = 6 and frame_index = 5")
    save_review(engine, given(6, Finding.UNUSABLE_IMAGE, frame_index=5), person="ann")
    for person in ("ann", "bob"):
        (volume,) = (each for each in list_worklist(engine, Filters(), person=person) if each.scan_id == 6)
        assert volume.frame_index != 5
    save_review(engine, given(6, Finding.GLIOMA, frame_index=volume.frame_index), person="ann")
    assert 6 not in waiting(engine) and 6 not in waiting(engine, person="bob")
    assert rows(scored, "select count(*) from worklist_page(100) where scan_id = 6") == [(0,)], "none is read in vain"
    assert retract_review(engine, person="ann") is not None
    assert 6 in waiting(engine) and 6 in waiting(engine, person="bob")


def test_neighboring_slices_belong_to_the_series(scored: Settings, engine: Engine) -> None:
    change(scored, "update scan set series_pseudonym = 'series' where scan_id in (2, 5)")
    assert read(engine, 5).slices == ((2, 0), (5, 0))
    assert read(engine, 1).slices == ((1, 0),)


def test_filters_return_only_matching_scans(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set review_reasons = '{}', predicted_class = 'normal'")
    change(
        scored,
        "update prediction set predicted_class = 'pituitary', review_reasons = '{several_classes}' where scan_id = 2",
    )
    change(scored, "update prediction set scored_at = '2026-03-01 23:30+00' where scan_id = 3")
    choices = list_choices(engine)
    assert date(2026, 3, 1) in choices.days
    assert waiting(engine, Filters(predicted_class=TumorClass.PITUITARY)) == [2]
    assert waiting(engine, Filters(reason=ReviewReason.SEVERAL_CLASSES)) == [2]
    assert waiting(engine, Filters(day=date(2026, 3, 1))) == [3]
    assert len(waiting(engine, Filters(model=choices.models[0]))) == 5
    assert waiting(engine, Filters(model="unknown")) == []


def test_tumor_filter_lists_scans_from_the_threshold(scored: Settings, engine: Engine) -> None:
    everyone = set(waiting(engine))
    change(
        scored,
        "update prediction set probability_normal = 0.75, probability_glioma = 0.25, probability_meningioma = 0, "
        "probability_pituitary = 0 where scan_id = 1",
    )
    assert 1 in waiting(engine, Filters(tumor=0.25)) and 1 not in waiting(engine, Filters(tumor=0.26))
    assert set(waiting(engine, Filters(tumor=0.0))) == everyone
    counts = count_waiting(engine, Filters(tumor=0.26), person="ann")
    assert counts.count_scan == len(waiting(engine, Filters(tumor=0.26)))
    assert waiting(engine, replace(AUDIT, tumor=1.0)) == waiting(engine, AUDIT) != []


def test_site_threshold_has_a_tab_of_the_worklist(engine: Engine) -> None:
    page = worklist_page(engine, Filters(tumor=0.2), ANN, number=0, threshold=0.2)
    assert '<a href="?tumor=0.2" aria-current="page">Tumor probability from 0.2</a>' in page
    assert "Tumor probability from 0.2" not in worklist_page(engine, Filters(), ANN, number=0)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_tumor_filter_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="tumor must be from 0 to 1"):
        Filters(tumor=value)


def test_decision_sent_twice_is_saved_once(scored: Settings, engine: Engine) -> None:
    answer = given(1, seconds=3.5)
    first, second = (save_review(engine, answer, person="ann") for _ in range(2))
    assert first == second
    found = rows(scored, "select reviewer, finding::text, purpose::text, is_blind, seconds from review")
    assert found == [("ann", "glioma", "risk", False, 3.5)]
    for other in (given(1, Finding.NORMAL, request_key=answer.request_key), given(2, request_key=answer.request_key)):
        with pytest.raises(ReviewError, match="another decision already"):
            save_review(engine, other, person="ann")
    with pytest.raises(ReviewError, match="another decision already"):
        save_review(engine, answer, person="bob")
    for impossible in (given(99), given(1, frame_index=7), given(1, model_version_id=2), given(1, session_id=1)):
        with pytest.raises(ReviewError, match="no such prediction"):
            save_review(engine, impossible, person="ann")
    assert len(rows(scored, "select from review")) == 1


def test_only_a_page_with_the_image_can_save_a_decision(scored: Settings, engine: Engine) -> None:
    asked = given(1)
    assert not may_review(engine, asked, person="ann")
    for person, scan_id, key in (
        ("bob", 1, asked.request_key),
        ("ann", 2, asked.request_key),
        ("ann", 1, "another page"),
    ):
        record_shown(engine, request_key=key, scan_id=scan_id, frame_index=0, person=person)
    record_shown(engine, request_key=asked.request_key, scan_id=1, frame_index=1, person="ann")
    assert not may_review(engine, asked, person="ann")
    unusable = given(1, Finding.UNUSABLE_IMAGE)
    assert may_review(engine, unusable, person="ann"), "unusable_image needs no image"
    for finding in set(Finding) - {Finding.UNUSABLE_IMAGE}:
        assert not may_review(engine, given(1, finding), person="ann")
    for _ in range(2):
        record_shown(engine, request_key=asked.request_key, scan_id=1, frame_index=0, person="ann")
    assert may_review(engine, asked, person="ann")


def test_page_requests_its_image_with_its_request_key(scored: Settings, engine: Engine) -> None:
    page = page_of(engine, 1)
    (key,) = re.findall(r'<img id="image" src="image/1/0\.png\?request_key=([0-9a-f]{32})"', page)
    assert f"&#34;request_key&#34;: &#34;{key}&#34;" in page


def test_each_reviewer_retracts_only_own_review(engine: Engine) -> None:
    save_review(engine, given(1, Finding.GLIOMA), person="ann")
    save_review(engine, given(1, Finding.NORMAL), person="bob")
    found = [(each.reviewer, each.finding) for each in read(engine, 1).reviews]
    assert found == [("bob", "normal"), ("ann", "glioma")]
    taken = retract_review(engine, person="ann")
    assert taken is not None and (taken.scan_id, taken.frame_index) == (1, 0)
    assert retract_review(engine, person="ann") is None
    assert [each.retracted_at is None for each in read(engine, 1).reviews] == [True, False]


def test_conflict_returns_to_a_third_reviewer(scored: Settings, engine: Engine) -> None:
    for person, finding in (("ann", Finding.GLIOMA), ("bob", Finding.NORMAL)):
        save_review(engine, given(2, finding), person=person)
    assert 2 not in waiting(engine) and 2 not in waiting(engine, person="bob")
    assert 2 in waiting(engine, person="eve")
    save_review(engine, given(2, Finding.NORMAL), person="eve")
    assert rows(scored, "select purpose::text from review where reviewer = 'eve'") == [("adjudication",)]
    assert 2 not in waiting(engine, person="dan")


def test_third_review_ends_conflict_in_session_and_audit_sample(scored: Settings, engine: Engine) -> None:
    for scan_id in (2, AUDITED):
        for person, finding in (("ann", Finding.GLIOMA), ("bob", Finding.NORMAL)):
            save_review(engine, given(scan_id, finding), person=person)
    session = start_session(engine, person="eve", minutes=60)
    assert (2, "risk") in rows(scored, "select scan_id, purpose::text from review_session_item")
    save_review(engine, given(2, Finding.NORMAL, session_id=session), person="eve")
    save_review(engine, given(AUDITED, Finding.NORMAL), person="eve")
    assert rows(scored, "select distinct purpose::text from review where reviewer = 'eve'") == [("adjudication",)]
    assert rows(scored, "select scan_id from frame_consensus where is_conflict") == []


def test_reviewer_of_another_slice_can_end_a_conflict(scored: Settings, engine: Engine) -> None:
    for person, finding in (("ann", Finding.GLIOMA), ("bob", Finding.NORMAL)):
        save_review(engine, given(6, finding, frame_index=5), person=person)
    save_review(engine, given(6, Finding.GLIOMA, frame_index=6), person="eve")
    (volume,) = (each for each in list_worklist(engine, Filters(), person="eve") if each.scan_id == 6)
    assert volume.frame_index == 5
    assert 6 not in waiting(engine, person="ann")


def test_audit_sample_is_blind_until_reviewed(scored: Settings, engine: Engine) -> None:
    assert waiting(engine, AUDIT) == [AUDITED] and AUDITED not in waiting(engine)
    (listed,) = list_worklist(engine, AUDIT, person="ann")
    assert (listed.predicted_class, listed.confidence, listed.model_name, listed.reasons) == (None, None, None, ())
    for person, is_reviewer in (("ann", True), ("bob", True), ("viewer", False)):
        blind = read(engine, AUDITED, person, is_reviewer=is_reviewer)
        assert blind.is_blind and blind.predictions == () and blind.reviews == ()
    saved = save_review(engine, given(AUDITED), person="ann")
    assert saved.is_blind
    assert read(engine, AUDITED).opinion is not None and read(engine, AUDITED).reviews
    assert read(engine, AUDITED, "viewer", is_reviewer=False).opinion is not None
    assert read(engine, AUDITED, "bob").is_blind, "it is blind for each reviewer"
    retract_review(engine, person="ann")
    assert not read(engine, AUDITED).is_blind, "a retraction does not blind again"
    assert not save_review(engine, given(AUDITED), person="ann").is_blind
    assert rows(scored, "select purpose::text, is_blind from review order by 1") == [("audit", True), ("risk", False)]


@pytest.mark.parametrize("address", ["viewer.example/{study}", "https://viewer.example/"])
def test_viewer_url_without_study_is_refused(scored: Settings, engine: Engine, address: str) -> None:
    change(scored, "update scan set study_pseudonym = 'study' where scan_id = 1")
    with pytest.raises(ConfigurationError, match=r"contain \{study\}, such as"):
        page_of(engine, 1, viewer_url=address)


def test_frame_is_drawn_at_full_size_and_as_thumbnail(scored: Settings, engine: Engine) -> None:
    store = ObjectStore.connect(scored)
    whole = Image.open(io.BytesIO(frame_png(engine, store, scan_id=2, frame_index=0)))
    assert np.array_equal(np.asarray(whole), np.asarray(Image.open(io.BytesIO(png(CLASSES[1], seed=1)))))
    small = Image.open(io.BytesIO(frame_png(engine, store, scan_id=6, frame_index=5, size=THUMBNAIL)))
    assert max(small.size) <= THUMBNAIL
    cover = Image.open(io.BytesIO(map_png(engine, scan_id=2, frame_index=0)))
    assert cover.mode == "RGBA" and cover.width == cover.height
    for scan_id, frame in ((99, 0), (2, 1)):
        with pytest.raises(ReviewError, match="no prediction for frame"):
            frame_png(engine, store, scan_id=scan_id, frame_index=frame)


def test_slices_of_a_volume_need_one_s3_read(scored: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read_by_s3 = ObjectStore.connect(scored), []
    read_object = ObjectStore.read

    def counted(self: ObjectStore, uri: S3Uri, **values: object) -> bytes:
        read_by_s3.append(uri)
        return read_object(self, uri, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectStore, "read", counted)
    shown = {frame_png(engine, store, scan_id=6, frame_index=frame) for frame in (2, 3, 4)}
    assert len(shown) == 3 and len(read_by_s3) == 1


def test_overwritten_object_is_not_shown(scored: Settings, engine: Engine) -> None:
    store = ObjectStore.connect(scored)
    ((bucket, key),) = rows(scored, "select bucket, key from scan_location where scan_id = 2")
    store.write(S3Uri(bucket=bucket, key=key), png(seed=77))
    try:
        with pytest.raises(ObjectChangedError):
            frame_png(engine, store, scan_id=2, frame_index=0)
    finally:
        store.write(S3Uri(bucket=bucket, key=key), png(CLASSES[1], seed=1))


def page_of(engine: Engine, scan_id: int, caller: Caller | None = None, **values: object) -> str:
    values = {"filters": Filters()} | values
    return frame_page(engine, (scan_id, 0), caller or ANN, **values)  # type: ignore[arg-type]


def test_pages_contain_no_object_key_and_no_inline_script(scored: Settings, engine: Engine) -> None:
    pages = [worklist_page(engine, Filters(), ANN, number=0)]
    pages += [page_of(engine, scan_id) for scan_id in (1, AUDITED)]
    keys = [key for (key,) in rows(scored, "select key from scan_location")]
    for page in pages:
        assert "For review, not for diagnosis" in page
        assert "hacked" not in page and not [key for key in keys if key in page]
        assert page.count("<script") == 1 and '<script src="review.js" defer></script>' in page
        assert " style=" not in page and "onclick" not in page
    assert "Read blind" in pages[2] and "Prediction:" not in pages[2] and "map/" not in pages[2]


def test_dashboard_shows_runs_drift_accuracy_and_champions(scored: Settings, engine: Engine) -> None:
    assert "No nightly run had enough predictions" in dashboard_page(engine, base="/r/")
    drift = '[{"reference": "the model\'s test split", "of_class": 0.31, "of_confidence": null}]'
    change(scored, "update scoring_run_summary set drift = cast(:drift as jsonb)", drift=drift)
    board = load_dashboard(engine)
    assert [(point.place, point.index, point.is_of_test) for point in board.drifts] == [(0, 0.31, True)]
    page = dashboard_page(engine, base="/r/")
    assert "0.31 from the model&#39;s test split" in page and "Live accuracy of" in page
    assert "not assessed: no scan of the last 90 days is in the audit sample" in page
    assert board.champions[0].model_name in page and "For review, not for diagnosis" in page


def test_page_names_normal_class_and_hides_buttons_from_viewers(scored: Settings, engine: Engine) -> None:
    change(scored, "update prediction set predicted_class = 'normal', prediction_set = '{normal}'")
    page = page_of(engine, 1)
    assert "Prediction: <em>none of the three tumors</em>" in page
    looking = page_of(engine, 1, Caller(person="viewer", is_reviewer=False, base="/r/"))
    assert "data-finding" not in looking and "undo" not in looking and "You can read this page" in looking


def test_viewer_link_uses_study_pseudonym(scored: Settings, engine: Engine) -> None:
    address = "https://viewer.example/study?s={study}"
    assert "viewer.example" not in page_of(engine, 1, viewer_url=address)
    change(scored, "update scan set study_pseudonym = 'ab/1' where scan_id = 1")
    assert 'href="https://viewer.example/study?s=ab%2F1"' in page_of(engine, 1, viewer_url=address)


def test_dashboard_shows_subgroups_and_what_is_not_assessed(scored: Settings, engine: Engine) -> None:
    assert "No DICOM scan of the last 28 days" in dashboard_page(engine, base="/r/")
    change(scored, "update scan set sex = 'F', station_pseudonym = repeat('ab', 16)")
    page = dashboard_page(engine, base="/r/")
    assert '<th scope="row">abababab</th><td class="figure">6</td>' in page and "ab" * 16 not in page
    assert "Station" in page and "Sex" in page and '<span class="quiet">not assessed</span>' in page
