"""Test the views of subgroups on the data set of ``predictions.sql`` and on more scans."""

from __future__ import annotations

import math

import pytest

from braintumor.config.settings import Settings
from braintumor.evaluation.metrics.classification import wilson_interval
from tests.sql import change, rows

SUMMARY = """
    select count_scan, count_rejected, rejected_share, count_frame, glioma, meningioma, normal, pituitary,
        mean_set_size, drift, count_reviewed, live_accuracy, not_assessed
    from subgroup_summary where attribute = 'sex' and subgroup = 'F'"""


def add_scans(settings: Settings, *, run: int, gliomas: int, normals: int, rejected: int = 0) -> None:
    """Insert scans of women in the audit sample, and a blind review of each: it finds a glioma."""
    change(
        settings,
        """
        with named as (
            select row_number() over () as place, label
            from (
                select 'glioma' as label from generate_series(1, :gliomas)
                union all
                select 'normal' from generate_series(1, :normals)
                union all
                select null from generate_series(1, :rejected)
            ) as labels
        ),
        made as (
            insert into scan (scan_id, state, scoring_run_id, size_bytes, arrived_at, processed_at, sex,
                              audit_probability)
            overriding system value
            select 1000 * :run + place, case when label is null then 'rejected' else 'scored' end::scan_state, :run, 1,
                now(), now(), 'F', 0.02
            from named
        ),
        answered as (
            insert into prediction (scan_id, frame_index, model_version_id, scoring_run_id, predicted_class, confidence,
                margin, probability_glioma, probability_meningioma, probability_normal, probability_pituitary,
                review_reasons, activation_map, engine, preprocessing)
            select 1000 * :run + place, 0, scoring_run.model_version_id, :run, label::tumor_class, 1, 1,
                (label = 'glioma')::integer, 0, (label = 'normal')::integer, 0, '{}', '', 'openvino-cpu', 'p'
            from named join scoring_run on scoring_run_id = :run
            where label is not null
            returning scan_id, model_version_id
        )
        insert into review (request_key, scan_id, frame_index, model_version_id, reviewer, finding, purpose, is_blind)
        select 'more ' || scan_id, scan_id, 0, model_version_id, 'ann', 'glioma', 'audit', true from answered""",
        run=run,
        gliomas=gliomas,
        normals=normals,
        rejected=rejected,
    )


def test_few_scans_are_counted_and_not_assessed(filled: Settings) -> None:
    add_scans(filled, run=3, gliomas=2, normals=10, rejected=7)
    assert rows(filled, SUMMARY) == [
        (19, 7, None, 12, None, None, None, None, None, None, 12, None,
         "fewer than 20 scans: not assessed; fewer than 20 predictions: classes not assessed; "
         "fewer than 100 predictions in one period: drift not assessed; "
         "fewer than 20 audited patients: accuracy not assessed")
    ]  # fmt: skip


def test_many_scans_have_shares_drift_and_accuracy(filled: Settings) -> None:
    add_scans(filled, run=1, gliomas=50, normals=50)
    add_scans(filled, run=3, gliomas=90, normals=10, rejected=25)
    change(filled, "update prediction set prediction_set = '{glioma,normal}' where scan_id between 3001 and 3025")
    change(filled, "update prediction set prediction_set = '{glioma}' where scan_id between 3026 and 3050")
    drift = 40 / 101 * (math.log(90.5 / 50.5) - math.log(10.5 / 50.5))  # half a count is added to each class
    ((*counts, size, index, reviewed, accuracy, missing),) = rows(filled, SUMMARY)
    assert counts == [125, 25, 0.2, 100, 0.9, 0, 0.1, 0]
    assert size == 1.5, "of the 50 predictions with a set"
    assert index == pytest.approx(drift)
    assert (reviewed, accuracy, missing) == (200, pytest.approx(0.7), "")


def test_live_accuracy_has_an_interval_of_weighted_patients(filled: Settings) -> None:
    """The 20 patients have 10 scans each. The predictions of 5 patients are wrong, and their scans weigh a tenth."""
    add_scans(filled, run=3, gliomas=150, normals=50)
    change(filled, "update scan set patient_pseudonym = (scan_id - 3001) / 10 where scan_id > 3000")
    change(filled, "update scan set audit_probability = 0.2 where scan_id > 3150")
    found = "select live_accuracy, live_accuracy_low, live_accuracy_high from subgroup_summary where subgroup = 'F'"
    ((accuracy, low, high),) = rows(filled, found)
    effective = (15 + 0.5) ** 2 / (15 + 0.05)
    assert accuracy == pytest.approx(15 / 15.5)
    assert (low, high) == pytest.approx(wilson_interval(15 / 15.5 * effective, effective))
    change(filled, "update scan set patient_pseudonym = '0' where patient_pseudonym = '1'")
    assert rows(filled, found) == [(None, None, None)]


def test_old_scans_and_rescores_do_not_count(filled: Settings) -> None:
    change(filled, "update scan set sex = 'M'")
    found = "select count_scan, count_frame from subgroup_summary where attribute = 'sex'"
    assert rows(filled, found) == [(7, 8)]


def test_scan_subgroup_has_one_row_for_each_attribute(filled: Settings) -> None:
    change(filled, "update scan set sex = 'M', age_band = '40 to 49' where scan_id = 9")
    found = "select attribute, subgroup, state::text from scan_subgroup where scan_id = 9 order by attribute"
    assert rows(filled, found) == [
        ("age band", "40 to 49", "scored"),
        ("device model", "skyra", "scored"),
        ("manufacturer", "siemens", "scored"),
        ("sex", "M", "scored"),
    ]
    assert rows(filled, "select count(*) from scan_subgroup where scan_id < 9") == [(0,)]
