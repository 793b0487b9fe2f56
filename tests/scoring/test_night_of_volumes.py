"""A night with files of many frames: a row per frame, and one scan, or one study, of them all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from braintumor.config.settings import Settings
from braintumor.imaging.phantom.volume import as_enhanced_mr, as_nifti, draw_volume
from braintumor.labels import CLASSES, TumorClass
from braintumor.scoring.job import run_scoring_job
from tests.images import png
from tests.sql import rows

VOLUME = draw_volume(TumorClass.GLIOMA, seed=7, slices=10, size=64)
SHOWS_HEAD = [index for index in range(len(VOLUME)) if (VOLUME[index] >= 26).mean() >= 0.05]

Put = Callable[[str, bytes], None]


@pytest.fixture
def night(settings: Settings, put: Put) -> Settings:
    put("volume.nii.gz", as_nifti(VOLUME))
    put("volume.dcm", as_enhanced_mr(VOLUME, seed=3))
    put("slice.png", png())
    balance = run_scoring_job(settings, run_key="night")
    assert str(balance) == "3 seen = 3 scored + 0 known + 0 rejected + 0 ignored + 0 deferred + 0 superseded"
    return settings


def test_each_frame_has_its_row_and_says_that_it_is_of_a_volume(night: Settings) -> None:
    found = rows(
        night,
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


def test_a_scan_is_the_mean_of_its_frames_and_remembers_the_most_suspicious(night: Settings) -> None:
    means = ", ".join(f"avg(probability_{label})" for label in CLASSES)
    by_hand = rows(night, f"select scan_id, count(*), {means}, 1 - min(probability_normal) from prediction group by 1")
    columns = ", ".join(f"mean_{label}" for label in CLASSES)
    view = rows(night, f"select scan_id, count_frame, {columns}, max_tumor_probability from scan_prediction")
    assert len(view) == 3
    for one, other in zip(sorted(by_hand), sorted(view), strict=True):
        assert one == pytest.approx(other)
    for predicted, *mean in rows(night, f"select predicted_class::text, {columns} from scan_prediction"):
        assert mean[CLASSES.index(TumorClass(predicted))] == max(mean)
    assert rows(
        night,
        """
        select count(*) from scan_prediction
        join prediction on prediction.scan_id = scan_prediction.scan_id
            and frame_index = max_tumor_frame_index and abs(1 - probability_normal - max_tumor_probability) < 1e-6""",
    ) == [(3,)]


def test_a_study_gathers_what_has_a_study(night: Settings) -> None:
    ((model_names, count_scan, count_frame, reasons),) = rows(
        night, "select model_names, count_scan, count_frame, review_reasons from study_prediction"
    )
    assert (len(model_names), count_scan, count_frame) == (1, 1, len(SHOWS_HEAD))
    assert "not_validated_on_volumes" in reasons
