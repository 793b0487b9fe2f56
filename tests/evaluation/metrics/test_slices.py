from __future__ import annotations

import pandas as pd
import pytest
from pydicom.dataset import Dataset

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.slices import SliceResult, slices
from braintumor.evaluation.report.tables import DICOM_ATTRIBUTES, slices_table
from braintumor.imaging.decoding.dicom.attributes import dicom_attributes


@pytest.fixture
def predictions() -> pd.DataFrame:
    """60 images: 20 jpeg with 18 correct, 19 png all correct, 21 of unknown format all wrong."""
    right = [True] * 18 + [False] * 2 + [True] * 19 + [False] * 21
    return pd.DataFrame(
        {
            "label": ["glioma"] * 60,
            "predicted": ["glioma" if is_right else "normal" for is_right in right],
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


def test_groups_of_twenty_images_are_assessed_and_smaller_not(predictions: pd.DataFrame) -> None:
    jpeg, _, png = slices(predictions)[:3]
    assert jpeg.is_assessed and not png.is_assessed
    rows = slices_table([jpeg, png]).rows
    assert rows == (("format", "jpeg", "20", "0.900 (0.699 to 0.972)"), ("format", "png", "19", "not assessed"))


def test_without_attributes_the_report_says_not_assessed(predictions: pd.DataFrame) -> None:
    assert slices(predictions[["label", "predicted"]]) == []
    assert slices_table([]).rows[0][0] == "not assessed"


def test_a_table_without_predictions_is_refused(predictions: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match=r"Received: label, format, side\. Add predicted"):
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
    assert {value: count for value, (count, _) in rows.items()} == {"F": "39", "M": "1", "not given": "20"}
    assert rows["M"][1] == "not assessed"


def test_every_dicom_attribute_has_a_display_name() -> None:
    every = Dataset()
    every.PatientAge, every.PatientSex, every.Manufacturer = "045Y", "F", "SIEMENS"
    every.MagneticFieldStrength, every.ScanningSequence = 3, "GR"
    assert list(dicom_attributes(every)) == list(DICOM_ATTRIBUTES)
