"""Test the coarse attributes of patient and scanner: a known word or no value, never an error or the text."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from tests.dicom_files import RAMP, changed, peak_bytes, shipped, written
from tests.images import png_of

TAGS = (
    "PatientAge", "PatientSex", "Manufacturer", "MagneticFieldStrength", "ScanningSequence", "RepetitionTime",
    "EchoTime", "InversionTime",
)  # fmt: skip


def attributes(data: bytes) -> dict[str, str]:
    decoded = decode(data)
    assert isinstance(decoded, Decoded), decoded
    return dict(decoded.attributes)


def given(**tags: Any) -> dict[str, str]:
    """Return the attributes of an MR object with only these of the relevant tags."""
    return attributes(changed(**{**dict.fromkeys(TAGS), **tags}))


def holding(keyword: str, value: bytes, vr: str | None = None) -> bytes:
    """Return an MR object with these bytes in one tag, which pydicom would not write."""
    dataset = pydicom.dcmread(io.BytesIO(changed(**dict.fromkeys(TAGS))))
    padded = value + b" " * (len(value) % 2)
    raw = RawDataElement(Tag(keyword), vr or dictionary_VR(keyword), len(padded), padded, 0, False, True)
    dataset[keyword] = raw
    return written(dataset)


def test_a_scanners_header_gives_all_five() -> None:
    told = given(
        PatientAge="058Y", PatientSex="M", Manufacturer="SIEMENS", MagneticFieldStrength="1.4939999580383",
        ScanningSequence="SE", RepetitionTime="550", EchoTime="11",
    )  # fmt: skip
    assert told == {
        "age_band": "40 to 59",
        "sex": "M",
        "manufacturer": "siemens",
        "field_strength": "1.5 T",
        "sequence": "T1-weighted spin echo",
    }


def test_shipped_file_gives_only_its_own_attributes() -> None:
    assert attributes(shipped("MR_small.dcm")) == {
        "sex": "F",
        "manufacturer": "canon/toshiba",
        "sequence": "T2-weighted spin echo",
    }


def test_empty_header_and_png_give_no_attributes() -> None:
    assert given() == {}
    assert attributes(png_of(RAMP)) == {}


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("017Y", "under 18"),
        ("018Y", "18 to 39"),
        ("039Y", "18 to 39"),
        ("040Y", "40 to 59"),
        ("059Y", "40 to 59"),
        ("060Y", "60 to 79"),
        ("080Y", "80 and over"),
        ("090Y", "80 and over"),
        ("103Y", "80 and over"),
        ("215M", "under 18"),
        ("216M", "18 to 39"),
        ("480M", "40 to 59"),
        ("010W", "under 18"),
        ("999W", "18 to 39"),
        ("003D", "under 18"),
        ("45Y", "40 to 59"),
        ("045y", "40 to 59"),
    ],
)
def test_age_in_any_unit_falls_into_its_band(age: str, band: str) -> None:
    assert attributes(holding("PatientAge", age.encode())) == {"age_band": band}


@pytest.mark.parametrize(
    "age",
    [
        "",
        "045",
        "Y",
        "000Y",
        "000D",
        "-45Y",
        "45 Y",
        "4.5Y",
        "0045Y",
        "131Y",
        "045J",
        "19781231",
        "Jane^Doe",
        "045Y\\050Y",
    ],
)
def test_invalid_age_gives_no_band(age: str) -> None:
    assert attributes(holding("PatientAge", age.encode())) == {}


@pytest.mark.parametrize(("sex", "told"), [("M", "M"), ("F", "F"), ("O", "O"), ("f ", "F")])
def test_the_three_sexes_of_the_standard(sex: str, told: str) -> None:
    assert attributes(holding("PatientSex", sex.encode())) == {"sex": told}


@pytest.mark.parametrize("sex", ["", "X", "MALE", "FJ", "1", "M\\F", "Jane^Doe"])
def test_any_other_sex_is_not_repeated(sex: str) -> None:
    assert attributes(holding("PatientSex", sex.encode())) == {}


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("SIEMENS", "siemens"),
        ("Siemens Healthineers", "siemens"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("GE Healthcare", "ge"),
        ("Philips Medical Systems", "philips"),
        ("TOSHIBA_MEC", "canon/toshiba"),
        ("CANON_MEC", "canon/toshiba"),
        ("HITACHI Medical Corporation", "hitachi/fujifilm"),
        ("FUJIFILM Healthcare Corporation", "hitachi/fujifilm"),
        ("UIH", "united imaging"),
        ("Shanghai United Imaging Healthcare Co., Ltd.", "united imaging"),
        ("Bruker BioSpin MRI GmbH", "bruker"),
        ("United Colors", "other"),
        ("General Orange Gerät", "other"),
        ("Jane^Doe", "other"),
    ],
)
def test_manufacturer_is_a_known_vendor_or_other(name: str, vendor: str) -> None:
    assert given(Manufacturer=name, SpecificCharacterSet="ISO_IR 192") == {"manufacturer": vendor}


@pytest.mark.parametrize("name", [b"", b"   ", b"123", b"\xff\xfe"])
def test_manufacturer_without_letters_is_omitted(name: bytes) -> None:
    assert attributes(holding("Manufacturer", name)) == {}


@pytest.mark.parametrize(
    ("field", "band"),
    [
        ("0.35", "below 1 T"),
        ("0.064", "below 1 T"),
        ("1", "1 T"),
        ("1.494", "1.5 T"),
        ("2.8936", "3 T"),
        ("3.0", "3 T"),
        ("6.98", "7 T"),
        ("1.2", "other"),
        ("9.4", "other"),
        ("10000", "1 T"),
        ("15000", "1.5 T"),
        ("30000", "3 T"),
    ],
)
def test_a_field_in_tesla_or_gauss_falls_into_its_band(field: str, band: str) -> None:
    assert attributes(holding("MagneticFieldStrength", field.encode())) == {"field_strength": band}


@pytest.mark.parametrize(
    "field", ["", "0", "-3", "nan", "inf", "1e999", "1500", "3000", "300000", "1.5\\3", "1.5T", "Jane^Doe"]
)
def test_invalid_or_ambiguous_field_strength_gives_no_band(field: str) -> None:
    assert attributes(holding("MagneticFieldStrength", field.encode())) == {}


@pytest.mark.parametrize(
    ("terms", "times", "sequence"),
    [
        ("SE", (), "spin echo"),
        ("SE", (500, 10), "T1-weighted spin echo"),
        ("SE", (800, 30), "T1-weighted spin echo"),
        ("SE", (2000, 30), "PD-weighted spin echo"),
        ("SE", (4000, 100), "T2-weighted spin echo"),
        ("SE", (1200, 15), "spin echo"),
        ("SE", (4000, 50), "spin echo"),
        ("SE", (700, 90), "spin echo"),
        ("SE", (0, 10), "spin echo"),
        ("SE", (9000, 120, 2500), "spin echo"),
        ("SE", (500, 10, 0), "T1-weighted spin echo"),
        (["SE", "IR"], (9000, 120, 2500), "inversion recovery"),
        ("IR", (9000, 120, 2500), "inversion recovery"),
        ("GR", (500, 10), "gradient echo"),
        (["GR", "IR"], (2000, 3, 900), "gradient echo after inversion"),
        (["IR", "GR"], (2000, 3, 900), "gradient echo after inversion"),
        (["SE", "GR"], (), "spin and gradient echo"),
        ("EP", (), "echo planar"),
        (["EP", "SE"], (5000, 90), "echo planar"),
        (["RM", "GR"], (), "research mode"),
    ],
)
def test_sequence_follows_terms_and_spin_echo_times(terms: Any, times: tuple[float, ...], sequence: str) -> None:
    named = dict(zip(("RepetitionTime", "EchoTime", "InversionTime"), times, strict=False))
    assert given(ScanningSequence=terms, **named) == {"sequence": sequence}


@pytest.mark.parametrize("terms", ["", "TSE", "SE\\JD", "Jane^Doe", "\\"])
def test_a_sequence_outside_the_standard_is_not_repeated(terms: str) -> None:
    assert attributes(holding("ScanningSequence", terms.encode())) == {}


@pytest.mark.parametrize("keyword", ["RepetitionTime", "EchoTime"])
@pytest.mark.parametrize("time", ["nan", "-5", "Jane^Doe", "500\\600"])
def test_invalid_times_give_no_weighting(keyword: str, time: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(holding(keyword, time.encode())))
    dataset.ScanningSequence = "SE"
    assert attributes(written(dataset)) == {"sequence": "spin echo"}


@pytest.mark.parametrize("keyword", TAGS)
@pytest.mark.parametrize(
    ("vr", "value"),
    [("US", b"abc "), ("FD", b"four"), ("OB", b"\xff\0\xff\0"), ("PN", b"Jane^Doe"), ("UN", b"\xff\xff"), ("SQ", b"")],
)
def test_tag_of_the_wrong_kind_does_not_reject_the_image(keyword: str, vr: str, value: bytes) -> None:
    decoded = decode(holding(keyword, value, vr))
    assert isinstance(decoded, Decoded)
    np.testing.assert_array_equal(decoded.frames[0].pixels, decode_small())
    assert "Jane" not in str(decoded.attributes).title()


def decode_small() -> np.ndarray:
    decoded = decode(shipped("MR_small.dcm"))
    assert isinstance(decoded, Decoded)
    return decoded.frames[0].pixels


def test_millions_of_values_in_one_tag_are_not_converted() -> None:
    data = holding("ScanningSequence", b"1\\" * 2_000_000, "UN")
    assert attributes(data) == {}
    assert peak_bytes(lambda: decode(data)) < 60_000_000


def test_attributes_are_not_in_the_repr() -> None:
    decoded = decode(changed(PatientAge="045Y", PatientSex="F"))
    assert "40 to 59" not in repr(decoded)
