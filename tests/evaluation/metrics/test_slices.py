from __future__ import annotations

import pandas as pd
import pytest
from pydicom.dataset import Dataset

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.classification import wilson_interval
from braintumor.evaluation.metrics.significance import clustered_interval
from braintumor.evaluation.metrics.slices import SliceResult, slices
from braintumor.evaluation.report.tables import DICOM_ATTRIBUTES, slices_table
from braintumor.imaging.decoding.dicom.attributes import dicom_attributes


@pytest.fixture
def predictions() -> pd.DataFrame:
    """60 patients with one image: 20 jpeg with 18 correct, 19 png all correct, 21 of unknown format all wrong."""
    right = [True] * 18 + [False] * 2 + [True] * 19 + [False] * 21
    return pd.DataFrame(
        {
            "label": ["glioma"] * 60,
            "predicted": ["glioma" if is_right else "normal" for is_right in right],
            "group_key": [f"patient {number}" for number in range(60)],
            "format": ["jpeg"] * 20 + ["png"] * 19 + [None] * 21,
            "side": [256] * 30 + [512] * 30,
        }
    )


def test_each_group_of_each_attribute_is_counted(predictions: pd.DataFrame) -> None:
    groups = [(r.attribute, r.value, r.count, r.count_correct) for r in slices(predictions)]
    assert groups == [
        ("format", "jpeg", 20, 18),
        ("format", "not given", 21, 0),
        ("format", "png", 19, 19),
        ("side", "256", 30, 28),
        ("side", "512", 30, 9),
    ]


def test_slices_of_twenty_groups_are_assessed_and_smaller_not(predictions: pd.DataFrame) -> None:
    jpeg, _, png = slices(predictions)[:3]
    assert jpeg.interval == clustered_interval([True] * 18 + [False] * 2, range(20)) and png.interval is None
    low, high = jpeg.interval
    rows = slices_table([jpeg, png]).rows
    assert rows == (
        ("format", "jpeg", "20", "20", f"0.900 ({low:.3f} to {high:.3f})"),
        ("format", "png", "19", "19", "not assessed"),
    )


def test_many_images_of_six_patients_are_not_assessed() -> None:
    (few,) = slices(patients(images=120, count=6))
    assert (few.count, few.count_group, few.interval) == (120, 6, None)
    assert slices_table([few]).rows == (("sex", "F", "6", "120", "not assessed"),)


def test_the_interval_counts_patients_not_images() -> None:
    (of_patients,) = slices(patients(images=120, count=24))
    assert of_patients.interval is not None
    low, high = of_patients.interval
    alone_low, alone_high = wilson_interval(of_patients.count_correct, of_patients.count)
    assert of_patients.count_group == 24
    assert high - low > 1.5 * (alone_high - alone_low)


def patients(*, images: int, count: int) -> pd.DataFrame:
    """Return images of ``count`` patients. All images of every third patient are wrong, the others are right."""
    patient = [number % count for number in range(images)]
    predicted = ["normal" if number % 3 == 0 else "glioma" for number in patient]
    return pd.DataFrame({"label": "glioma", "predicted": predicted, "group_key": patient, "sex": "F"})


def test_without_attributes_the_report_says_not_assessed(predictions: pd.DataFrame) -> None:
    assert slices(predictions[["label", "predicted", "group_key"]]) == []
    assert slices_table([]).rows[0][0] == "not assessed"


def test_a_table_without_predictions_is_refused(predictions: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match=r"Received: label, group_key, format, side\. Add predicted"):
        slices(predictions.drop(columns="predicted"))


def test_an_unused_category_is_no_group(predictions: pd.DataFrame) -> None:
    predictions["format"] = pd.Categorical(predictions["format"], categories=["jpeg", "png", "tiff"])
    assert "tiff" not in {result.value for result in slices(predictions)}
    assert all(isinstance(result, SliceResult) and result.count > 0 for result in slices(predictions))


def test_missing_dicom_attributes_are_listed_in_one_sentence(predictions: pd.DataFrame) -> None:
    without = slices_table(slices(predictions))
    assert "because no test image has it: age, sex, manufacturer, field strength, sequence." in without.note
    assert {row[0] for row in without.rows} == {"format", "side"}
    with_sex = slices_table(slices(predictions.assign(sex=["F"] * 39 + ["M"] + [None] * 20)))
    assert "because no test image has it: age, manufacturer, field strength, sequence." in with_sex.note
    rows = {row[1]: row[2:] for row in with_sex.rows if row[0] == "sex"}
    assert {value: count for value, (_, count, _) in rows.items()} == {"F": "39", "M": "1", "not given": "20"}
    assert rows["M"][2] == "not assessed"


def test_every_dicom_attribute_has_a_display_name() -> None:
    every = Dataset()
    every.PatientAge, every.PatientSex, every.Manufacturer = "045Y", "F", "SIEMENS"
    every.MagneticFieldStrength, every.ScanningSequence = 3, "GR"
    assert list(dicom_attributes(every)) == list(DICOM_ATTRIBUTES)
