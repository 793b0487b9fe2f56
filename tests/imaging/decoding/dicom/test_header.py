"""Test the attributes that form subgroups: a safe word or no value, for scored and for rejected objects."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import pytest

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.dicom_header import ATTRIBUTE_PATTERN, DicomHeader, ScanAttributes
from braintumor.imaging.decoding.types import Decoded
from tests.dicom_files import NAME, RAMP, changed, shipped
from tests.images import png_of

TAGS = (
    "PatientAge", "PatientSex", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "ScanningSequence",
    "SequenceVariant", "EchoTime", "RepetitionTime", "InversionTime", "ContrastBolusAgent", "StationName",
    "InstitutionName",
)  # fmt: skip
EMPTY = dict.fromkeys(TAGS)


def header(data: bytes) -> DicomHeader:
    result = decode(data)
    assert result.dicom is not None
    return result.dicom


def given(**tags: Any) -> ScanAttributes:
    """Return the attributes of an MR object with only these of the relevant tags."""
    return header(changed(**EMPTY | tags)).attributes


def test_shipped_file_gives_its_attributes_and_station() -> None:
    found = header(shipped("MR_small.dcm"))
    assert found.attributes == ScanAttributes(
        manufacturer="canon/toshiba", device_model="mrt50h1", sequence_family="T2", sex="F"
    )
    assert (found.institution_name, found.station_name) == ("TOSHIBA", "000000000")
    assert "TOSHIBA" not in repr(found)


def test_object_without_attributes_gives_none() -> None:
    assert given() == ScanAttributes()


def test_png_has_no_header() -> None:
    result = decode(png_of(RAMP))
    assert isinstance(result, Decoded) and result.dicom is None


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelData": b"", "ManufacturerModelName": "Skyra"},
        {"Modality": "CT", "ManufacturerModelName": "Skyra"},
        {"BurnedInAnnotation": "YES", "ManufacturerModelName": "Skyra"},
        {"PixelData": bytes(64 * 64 * 2), "ManufacturerModelName": "Skyra"},
    ],
    ids=["no pixels", "not MR", "burned-in annotation", "blank"],
)
def test_rejected_object_keeps_its_header(tags: dict[str, Any]) -> None:
    data = changed(**tags)
    assert not isinstance(decode(data), Decoded)
    assert header(data).attributes.device_model == "skyra"


def test_object_whose_decoder_fails_keeps_its_header() -> None:
    data = changed(PhotometricInterpretation="PALETTE COLOR", ManufacturerModelName="Skyra")
    assert not isinstance(decode(data), Decoded)
    assert header(data).attributes.device_model == "skyra"


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Skyra", "skyra"),
        (" SIGNA  HDxt ", "signa hdxt"),
        ("Prisma_fit", "prisma fit"),
        ("MAGNETOM Vida (XA30)", "magnetom vida (xa30)"),
        (NAME, None),
        ("Müller", None),
        ("Doe, Jane", None),
        ("Skyra 19781231", None),
        ("Skyra 12345", None),
        ("<script>", None),
        ("x" * 33, None),
        ("-", None),
        ("", None),
    ],
)
def test_model_name_is_safe_or_left_out(name: str, model: str | None) -> None:
    assert given(ManufacturerModelName=name).device_model == model


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("009Y", "0 to 9"),
        ("018M", "0 to 9"),
        ("010Y", "10 to 19"),
        ("089Y", "80 to 89"),
        ("090Y", "90 and over"),
        ("104Y", "90 and over"),
        ("000Y", None),
        ("045", None),
        ("", None),
    ],
)
def test_age_is_stored_as_a_decade(age: str, band: str | None) -> None:
    assert given(PatientAge=age).age_band == band


@pytest.mark.parametrize(
    ("tags", "family"),
    [
        ({"ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 10}, "T1"),
        ({"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 100}, "T2"),
        ({"ScanningSequence": "SE", "RepetitionTime": 3000, "EchoTime": 20}, "other"),
        ({"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2500}, "FLAIR"),
        ({"ScanningSequence": "IR", "RepetitionTime": 5000, "EchoTime": 390, "InversionTime": 1800}, "FLAIR"),
        ({"ScanningSequence": "SE", "RepetitionTime": 8000, "EchoTime": 130, "InversionTime": 2250}, "FLAIR"),
        ({"ScanningSequence": ["SE", "IR"], "RepetitionTime": 8000, "EchoTime": 120}, "other"),
        ({"ScanningSequence": ["EP", "IR"], "EchoTime": 90, "InversionTime": 2250}, "other"),
        ({"ScanningSequence": ["SE", "IR"], "RepetitionTime": 2000, "EchoTime": 10, "InversionTime": 860}, "T1"),
        ({"ScanningSequence": ["GR", "IR"], "RepetitionTime": 2300, "EchoTime": 3, "InversionTime": 900}, "T1"),
        ({"ScanningSequence": ["SE", "IR"], "RepetitionTime": 4000, "EchoTime": 40, "InversionTime": 150}, "other"),
        ({"ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 8, "EchoTime": 3}, "T1"),
        ({"ScanningSequence": "GR", "SequenceVariant": "SP", "RepetitionTime": 600, "EchoTime": 20}, "other"),
        ({"ScanningSequence": "EP", "RepetitionTime": 5000, "EchoTime": 90}, "other"),
        ({"ScanningSequence": "SE"}, "other"),
        ({"AcquisitionContrast": "FLUID_ATTENUATED"}, "FLAIR"),
        ({"AcquisitionContrast": "T1", "ContrastBolusAgent": "Gadovist"}, "T1 with contrast"),
        ({"AcquisitionContrast": "DIFFUSION"}, "other"),
        ({}, None),
    ],
)
def test_times_and_sequence_give_the_family(tags: dict[str, Any], family: str | None) -> None:
    assert given(**tags).sequence_family == family


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        *[(agent, "T1 with contrast") for agent in ("GADOVIST 7ml", "Non-ionic", "Novagad", "0.1 mmol/kg", "Nativist")],
        *[(agent, "T1") for agent in ("None", "", None, "NO", "No contrast", "no gadolinium", "0", "-", "---", "W/O")],
        *[(agent, "T1") for agent in ("NON CONTRAST", "Non-Contrast", "UNENHANCED", "PRE", "pre contrast", "NIL")],
        *[(agent, "T1") for agent in ("N/A", "Unknown", "WITHOUT", "without contrast", "WITHOUT GD", "NATIVE")],
    ],
)
def test_contrast_agent_changes_only_t1(agent: str | None, family: str) -> None:
    short = {"ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 10}
    assert given(**short, ContrastBolusAgent=agent).sequence_family == family
    long = {"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 100}
    assert given(**long, ContrastBolusAgent=agent).sequence_family == "T2"


def test_names_in_every_tag_reach_no_attribute() -> None:
    stored = asdict(given(**dict.fromkeys(("ManufacturerModelName", "Manufacturer", "StationName"), NAME)))
    values = [value for value in stored.values() if value is not None]
    assert all(re.fullmatch(ATTRIBUTE_PATTERN, value) for value in values) and "doe" not in " ".join(values).lower()
