"""Test the views on a small data set that can be counted by hand (``predictions.sql``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from tests.sql import change, rows

WORKLIST = "select scan_id, frame_index, risk from review_worklist order by risk_rank, risk_rank_at_scoring, confidence"
OPEN = [
    (9, 1, "same_content_other_patient"),
    (10, 0, "same_content_other_patient"),
    (9, 2, "same_content_other_patient"),
    (9, 0, "same_content_other_patient"),
    (3, 0, "reviewers_disagree"),
    (8, 0, "out_of_distribution"),
    (1, 0, "tumor"),
]


@contextmanager
def engine_of(settings: Settings) -> Iterator[Engine]:
    engine = database.connect(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def add_review(
    settings: Settings,
    scan: int,
    finding: str,
    *,
    by: str,
    purpose: str = "risk",
    model: int = 2,
    is_blind: bool = False,
) -> int:
    """Insert a review of the first frame, and return its number."""
    ((number,),) = rows(
        settings,
        """
        insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
        values (gen_random_uuid()::text, :scan, 0, :model, :by, cast(:finding as review_finding),
                cast(:purpose as review_purpose), :is_blind)
        returning review_id""",
        scan=scan,
        finding=finding,
        by=by,
        purpose=purpose,
        is_blind=is_blind,
        model=model,
    )
    return int(number)


# The worklist


def test_the_worklist_has_open_frames_by_risk(filled: Settings) -> None:
    assert rows(filled, WORKLIST) == OPEN


def test_worklist_page_returns_the_first_rows(filled: Settings) -> None:
    assert rows(filled, "select scan_id, frame_index, risk from worklist_page(5)") == OPEN[:5]
    hidden = "select scan_id, frame_index from worklist_page(1, of_class => 'normal')"
    assert rows(filled, hidden) == [(9, 2)], "although a glioma of scan 9 comes before it"
    assert rows(filled, "select * from worklist_page(50)") == rows(
        filled,
        "select * from review_worklist order by risk_rank, risk_rank_at_scoring, confidence, scan_id, frame_index",
    )


def test_a_confident_normal_waits_for_a_review_too(filled: Settings) -> None:
    change(filled, "insert into review_retraction values (2)")
    assert rows(filled, WORKLIST) == [*OPEN, (4, 0, "normal")]
    add_review(filled, 4, "normal", by="ann", model=1)
    assert rows(filled, WORKLIST) == OPEN


@pytest.mark.parametrize("finding", ["normal", "other_finding", "unusable_image"])
def test_a_review_removes_a_frame_and_a_retraction_restores_it(filled: Settings, finding: str) -> None:
    number = add_review(filled, 8, finding, by="bob")
    assert (8, 0, "out_of_distribution") not in rows(filled, WORKLIST)
    change(filled, "insert into review_retraction values (:number)", number=number)
    assert rows(filled, WORKLIST) == OPEN


def test_a_corrected_file_ends_the_alarm_of_two_patients(filled: Settings) -> None:
    pairs = "select scan_id, other_scan_id from cross_patient_duplicate_pair order by scan_id"
    assert rows(filled, pairs) == [(9, 10), (10, 9)]
    change(filled, "update scan set is_replaced = true where scan_id = 9")
    assert rows(filled, pairs) == []
    (ten,) = rows(filled, "select review_reasons from current_prediction where scan_id = 10")
    assert "same_content_other_patient" not in ten[0]
    assert rows(filled, "select frame_index from current_prediction where scan_id = 9") == []
    assert rows(filled, "select 1 from time_to_review where scan_id = 9 and reviewed_at is null") == []


def test_cannot_tell_settles_no_frame(filled: Settings) -> None:
    add_review(filled, 1, "cannot_tell", by="bob")
    assert rows(filled, WORKLIST) == OPEN


def test_a_conflict_reopens_a_frame_until_an_adjudication(filled: Settings) -> None:
    add_review(filled, 5, "pituitary", by="bob")
    assert (5, 0, "reviewers_disagree") in rows(filled, WORKLIST)
    assert (5, 0) in rows(filled, "select scan_id, frame_index from worklist_page(50)")
    add_review(filled, 5, "pituitary", by="eve", purpose="adjudication")
    assert rows(filled, WORKLIST) == OPEN
    assert rows(filled, "select finding::text, is_adjudicated from frame_consensus where scan_id = 5") == [
        ("pituitary", True)
    ]


def test_two_concurrent_reviews_in_conflict_keep_a_frame_open(filled: Settings) -> None:
    with engine_of(filled) as engine, engine.begin() as connection:
        connection.execute(text(_REVIEW), {"by": "ann", "finding": "glioma"})
        other = Thread(target=add_review, args=(filled, 1, "normal"), kwargs={"by": "bob"})
        other.start()
        other.join(0.5)
        assert other.is_alive(), "the second review does not wait for the first"
    other.join()
    assert (1, 0, "reviewers_disagree") in rows(filled, WORKLIST)


_REVIEW = """
    insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
    values (gen_random_uuid()::text, 1, 0, 2, :by, cast(:finding as review_finding), 'risk', false)"""


def test_a_new_prediction_does_not_reopen_a_settled_frame(filled: Settings) -> None:
    assert rows(filled, "select model_name, is_settled from current_prediction where scan_id = 2") == [("new", True)]
    assert rows(filled, "select is_settled from prediction where scan_id = 2 order by model_version_id") == [
        (True,),
        (True,),
    ]
    change(
        filled,
        """
        insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
            count_parameter, artifact_uri, artifact_sha256s, temperature)
        select 'newer', training_run_id, 'vgg16', 'int8', 64, 'p', 1, 's3://b/n/', '{}', 1
        from model_version where model_name = 'new';
        insert into scoring_run (run_key, kind, model_version_id, engine) values ('again', 'rescore', 3, 'none');
        insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence,
            margin, probability_glioma, probability_meningioma, probability_normal, probability_pituitary,
            review_reasons, activation_map, engine, preprocessing)
        select scan_id, frame_index, 3, 4, 'glioma', confidence, margin, 1, 0, 0, 0, '{out_of_distribution}', '',
               engine, preprocessing
        from prediction where scan_id in (1, 2) and model_version_id = 2""",
    )
    assert rows(filled, "select is_settled from prediction where scan_id = 2 and model_version_id = 3") == [(False,)]
    assert rows(filled, "select scan_id, risk from review_worklist where model_name = 'newer'") == [
        (1, "out_of_distribution")
    ]
    assert rows(filled, "select scan_id from worklist_page(50) where model_name = 'newer'") == [(1,)]


def test_predictions_of_a_withdrawn_model_rank_higher(filled: Settings) -> None:
    change(
        filled, "insert into withdrawal (model_version_id, after_promotion_id, actor, reason) values (2, 2, 'e', 'r')"
    )
    risks = {(scan, risk) for scan, _, risk in rows(filled, WORKLIST)}
    assert {(1, "model_withdrawn"), (8, "out_of_distribution"), (3, "reviewers_disagree")} <= risks


def test_is_settled_of_predictions_equals_frame_consensus(filled: Settings) -> None:
    marked = "select distinct scan_id, frame_index from prediction where is_settled"
    truth = "select scan_id, frame_index from frame_consensus where is_settled"
    assert sorted(rows(filled, marked)) == sorted(rows(filled, truth)) != []


# Reviewers and model


AUDITED_BLIND = """
    select scan_id, finding::text, is_agreed from review_comparison
    where sample = 'audit' and is_blind order by scan_id"""
AUDITED = "select scan_id, outcome, is_agreed from audited_scan order by scan_id"
BEFORE = [(4, "normal", True), (5, "glioma", True), (7, "glioma", False)]
"""The reviews 2, 6 and 9 of the audit sample."""


def test_a_retracted_blind_review_counts_in_the_audit_sample(filled: Settings) -> None:
    assert rows(filled, AUDITED_BLIND) == BEFORE
    change(filled, "insert into review_retraction values (9)")
    assert rows(filled, AUDITED_BLIND) == BEFORE
    add_review(filled, 7, "normal", by="ann")
    assert rows(filled, AUDITED_BLIND) == BEFORE, "agreement after seeing the prediction changes nothing"
    assert rows(filled, AUDITED) == [(4, "settled", True), (5, "settled", True), (7, "settled", False)]
    assert rows(filled, "select finding::text from frame_consensus where scan_id = 7") == [("normal",)], (
        "the worklist's"
    )


def test_a_later_review_does_not_replace_the_blind_one(filled: Settings) -> None:
    add_review(filled, 7, "normal", by="ann")
    add_review(filled, 5, "pituitary", by="ann")
    assert rows(filled, AUDITED_BLIND) == BEFORE


def test_a_retraction_does_not_end_a_blind_conflict(filled: Settings) -> None:
    number = add_review(filled, 7, "normal", by="bob", purpose="audit", is_blind=True)
    assert rows(filled, AUDITED_BLIND) == BEFORE[:2]
    change(filled, "insert into review_retraction values (9)")
    assert rows(filled, AUDITED_BLIND) == BEFORE[:2]
    assert rows(filled, AUDITED)[2] == (7, "conflict", False), "the first finding counts"
    add_review(filled, 7, "pituitary", by="cid", purpose="adjudication", is_blind=True)
    change(filled, "insert into review_retraction values (:number)", number=number)
    assert rows(filled, AUDITED_BLIND) == [*BEFORE[:2], (7, "pituitary", False)]


def test_a_blind_repeat_is_not_a_first_blind_review(filled: Settings) -> None:
    change(filled, "update scan set audit_probability = 0.02 where scan_id = 6")
    add_review(filled, 6, "meningioma", by="ann", purpose="repeat", is_blind=True)
    change(filled, "insert into review_retraction select review_id from review where reviewer = 'bob' and scan_id = 6")
    assert rows(filled, AUDITED_BLIND) == BEFORE
    assert rows(filled, AUDITED)[2] == (6, "unread", None)


def test_audited_scan_has_the_frame_of_the_first_blind_review(filled: Settings) -> None:
    frame = "select frame_index, predicted_class::text, outcome from audited_scan where scan_id = 9"
    change(filled, "update scan set audit_probability = 0.02, content_sha256 = 'ab' where scan_id in (8, 9)")
    (shown_first,) = rows(filled, frame)
    assert shown_first[0] in (0, 1, 2) and shown_first[2] == "unread"
    add_review(filled, 9, "cannot_tell", by="bob", purpose="audit", is_blind=True)
    assert rows(filled, frame) == [(0, "normal", "undecided")]
    add_review(filled, 9, "unusable_image", by="ann", purpose="audit", is_blind=True)
    assert rows(filled, frame) == [(0, "normal", "unusable")]
    clusters = "select cluster_key from audited_scan where scan_id in (5, 8, 9) order by scan_id"
    assert rows(filled, clusters) == [("5",), ("187ef4436122d1cc2f40dc2b92f0eba0",), ("patient 1",)]


def test_wilson_intervals_equal_those_of_the_literature(empty_settings: Settings) -> None:
    ((low, high, none),) = rows(empty_settings, "select wilson_low(81, 263), wilson_high(81, 263), wilson_low(0, 0)")
    assert (round(low, 4), round(high, 4), none) == (0.2553, 0.3662, None)  # Newcombe 1998, table I, method 3


def test_a_frame_counts_for_no_model_that_was_trained_on_it(filled: Settings) -> None:
    counted = "select scan_id, model_name from review_comparison where scan_id in (5, 7) order by scan_id"
    assert rows(filled, counted) == [(5, "new"), (7, "new")]
    change(
        filled,
        """
        insert into snapshot_review (
            snapshot_id, scan_id, frame_index, label, label_source, count_reader, rules_version, reason)
        values ('s', 5, 0, 'glioma', 'readers', 2, 1, null), ('s', 7, 0, 'glioma', 'readers', 2, 1, 'left out')""",
    )
    assert rows(filled, counted) == [(7, "new")]


def test_a_finding_outside_the_classes_agrees_with_no_class(filled: Settings) -> None:
    add_review(filled, 1, "other_finding", by="ann")
    assert rows(filled, "select is_agreed from review_comparison where scan_id = 1") == [(False,)]
    add_review(filled, 8, "unusable_image", by="ann")
    assert rows(filled, "select is_agreed from review_comparison where scan_id = 8") == []


def test_times_are_from_arrival_to_prediction_to_review(filled: Settings) -> None:
    found = rows(
        filled,
        """
        select scan_id, model_name, extract(epoch from arrival_to_score) / 3600,
               extract(epoch from score_to_review) / 86400
        from time_to_review where scan_id in (1, 3) order by scan_id""",
    )
    assert found == [(1, "old", 2, None), (3, "old", 2, 32)]


# What changes from week to week


def test_prediction_changes_are_from_run_to_run(filled: Settings) -> None:
    changes = """
        select scan_id, before_model_name, before_class::text, model_name, predicted_class::text, run_kind::text
        from prediction_change order by scan_id, changed_at"""
    assert rows(filled, changes) == [
        (2, "old", "normal", "new", "meningioma", "rescore"),
        (3, "old", "meningioma", "new", "pituitary", "rescore"),
    ]
    change(
        filled,
        """
        insert into scoring_run (run_key, kind, model_version_id, engine) values ('back', 'rescore', 1, 'openvino-cpu');
        insert into rescore_run values (4, false, 'eve', 'old knew better', '{}', 1, 1);
        insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state, processed_at)
        values (4, 2, 0, 2, 'already_scored', now())""",
    )
    assert rows(filled, changes)[1] == (2, "new", "meningioma", "old", "normal", "rescore")
    assert rows(filled, "select model_name from current_prediction where scan_id = 2") == [("old",)]


def test_the_weekly_class_mix_counts_predictions_by_model(filled: Settings) -> None:
    found = rows(
        filled,
        """
        select model_name, predicted_class::text, count_frame, round(share::numeric, 3)::double precision
        from class_mix_weekly join clock_week using (week_date) order by predicted_class""".replace(
            "clock_week",
            "(select (date_trunc('week', now() at time zone 'utc') - interval '7 days')::date as week_date) as w",
        ),
    )
    assert found == [
        ("new", "glioma", 4, 0.364),
        ("new", "meningioma", 1, 0.091),
        ("new", "normal", 4, 0.364),
        ("new", "pituitary", 2, 0.182),
    ]


# Scans


def test_a_rescored_scan_has_one_row_of_current_predictions(filled: Settings) -> None:
    """Run 1 scored scans 1 to 4 and the rescore scored 1 to 3 again. There are 10 scored scans, so 10 rows."""
    sql = "select scan_id, model_name, predicted_class::text, count_frame from scan_prediction order by 1"
    assert rows(filled, sql) == [
        (1, "new", "glioma", 1),
        (2, "new", "meningioma", 1),
        (3, "new", "pituitary", 1),
        (4, "old", "normal", 1),
        (5, "new", "glioma", 1),
        (6, "new", "glioma", 1),
        (7, "new", "normal", 1),
        (8, "new", "normal", 1),
        (9, "new", "normal", 3),
        (10, "new", "pituitary", 1),
    ]
    gliomas = "select count(*) from scan_prediction where predicted_class = 'glioma'"
    assert rows(filled, gliomas) == [(3,)]


def test_a_rescore_reuses_an_earlier_prediction_of_its_model(filled: Settings) -> None:
    change(
        filled,
        """
        insert into scoring_run (run_key, kind, model_version_id, engine) values ('back', 'rescore', 1, 'openvino-cpu');
        insert into rescore_run (scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
        values (4, true, 'eve', 'back', '{}', 1, 1);
        insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id, state, processed_at)
        values (4, 3, 0, 2, 'already_scored', now())""",
    )
    sql = "select model_name, predicted_class::text, review_reasons from scan_prediction where scan_id in (2, 3)"
    assert rows(filled, sql + " order by scan_id") == [("new", "meningioma", []), ("old", "meningioma", [])]


def test_reasons_of_a_scan_are_those_of_its_current_frames(filled: Settings) -> None:
    """Scan 2 had no_likely_class only in its first prediction. Scan 9 has three frames and an image of two patients."""
    sql = "select scan_id, review_reasons from scan_prediction where scan_id in (2, 3, 9) order by scan_id"
    assert rows(filled, sql) == [
        (2, []),
        (3, ["several_classes"]),
        (9, ["not_validated_on_volumes", "same_content_other_patient"]),
    ]


def test_drift_is_computed_with_enough_predictions(filled: Settings) -> None:
    drift = """
        select count_frame, count_reference, class_index, confidence_index from drift_weekly
        where model_name = 'new' and week_date = (select max(week_date) from drift_weekly) order by reference"""
    assert rows(filled, drift) == [(11, 200, None, None), (11, 0, None, None)]
    change(filled, _MANY, first=1000, count=120, days=7, label="normal")
    change(filled, _MANY, first=2000, count=120, days=14, label="normal")
    split, before = rows(filled, drift)
    assert split[:3] == (131, 200, None) and split[3] >= 0, "the test split does not estimate a hospital's class mix"
    assert before[:2] == (131, 120) and 0 < before[2] < 0.25
    assert before[2] == pytest.approx(
        rows(
            filled,
            "select stability_index('{\"normal\": 120}', "
            '\'{"glioma": 4, "meningioma": 1, "normal": 124, "pituitary": 2}\')',
        )[0][0]
    )


_MANY = """
    insert into scan (scan_id, state, scoring_run_id, count_frame, size_bytes, arrived_at)
    overriding system value
    select number, 'scored', 3, 1, 1, now() from generate_series(:first, :first + :count - 1) as number;
    insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence, margin,
        probability_glioma, probability_meningioma, probability_normal, probability_pituitary, review_reasons,
        activation_map, engine, preprocessing, scored_at)
    select number, 0, 2, 3, cast(:label as tumor_class), 0.97, 0.96, 0.01, 0.01, 0.97, 0.01, '{}', '', 'openvino-cpu',
        'p', (date_trunc('week', now() at time zone 'utc') - make_interval(days => :days)) at time zone 'utc'
    from generate_series(:first, :first + :count - 1) as number"""
