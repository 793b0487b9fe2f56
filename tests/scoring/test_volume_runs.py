"""Test runs with volumes: one row per frame, and views by scan and study."""

from __future__ import annotations

import pytest

from braintumor.config.settings import Settings
from braintumor.imaging.phantom.volume import as_enhanced_mr, as_nifti, draw_volume
from braintumor.labels import CLASSES, TumorClass
from braintumor.scoring.job import run_scoring_job
from tests.conftest import Put
from tests.images import png
from tests.sql import rows

VOLUME = draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)
SHOWS_HEAD = [index for index in range(len(VOLUME)) if (VOLUME[index] >= 26).mean() >= 0.05]


@pytest.fixture
def scored(settings: Settings, put: Put) -> Settings:
    put("volume.nii.gz", as_nifti(VOLUME))
    put("volume.dcm", as_enhanced_mr(VOLUME, seed=3))
    put("slice.png", png())
    balance = run_scoring_job(settings, run_key="night")
    assert str(balance) == "3 seen = 3 scored + 0 known + 0 rejected + 0 ignored + 0 deferred + 0 superseded"
    return settings


def test_each_frame_has_a_row_with_the_volume_reason(scored: Settings) -> None:
    found = rows(
        scored,
        """
        select format, count_frame, array_agg(frame_index order by frame_index),
               bool_and('not_validated_on_volumes' = any(review_reasons)),
               bool_or('not_validated_on_volumes' = any(review_reasons))
        from prediction join scan using (scan_id) group by format, count_frame order by format""",
    )
    count = len(SHOWS_HEAD)
    assert found == [
        ("dicom", count, SHOWS_HEAD, True, True),
        ("nifti", count, SHOWS_HEAD, True, True),
        ("png", 1, [0], False, False),
    ]


def test_scan_has_mean_and_most_suspicious_frame(scored: Settings) -> None:
    means = ", ".join(f"avg(probability_{label})" for label in CLASSES)
    by_hand = rows(scored, f"select scan_id, count(*), {means}, 1 - min(probability_normal) from prediction group by 1")
    columns = ", ".join(f"mean_{label}" for label in CLASSES)
    view = rows(scored, f"select scan_id, count_frame, {columns}, max_tumor_probability from scan_prediction")
    assert len(view) == 3
    for one, other in zip(sorted(by_hand), sorted(view), strict=True):
        assert one == pytest.approx(other)
    for predicted, *mean in rows(scored, f"select predicted_class::text, {columns} from scan_prediction"):
        assert mean[CLASSES.index(TumorClass(predicted))] == max(mean)
    assert rows(
        scored,
        """
        select count(*) from scan_prediction
        join prediction on prediction.scan_id = scan_prediction.scan_id
            and frame_index = max_tumor_frame_index and abs(1 - probability_normal - max_tumor_probability) < 1e-6""",
    ) == [(3,)]


def test_study_view_groups_scans_with_a_study(scored: Settings) -> None:
    ((model_names, count_scan, count_frame, reasons),) = rows(
        scored, "select model_names, count_scan, count_frame, review_reasons from study_prediction"
    )
    assert (len(model_names), count_scan, count_frame) == (1, 1, len(SHOWS_HEAD))
    assert "not_validated_on_volumes" in reasons
