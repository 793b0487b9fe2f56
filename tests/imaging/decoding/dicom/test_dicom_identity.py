"""Test that DICOM identifiers are kept for pseudonyms, and that no text of a tag leaks."""

from __future__ import annotations

import io
import logging
from typing import Any, ClassVar

import pydicom
import pytest

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Decoded
from tests.decode_results import rejected
from tests.dicom_files import NAME, PATIENT, RAMP, STUDY, changed, patched, shipped, written
from tests.images import png_of


class TestIdentity:
    TAGS: ClassVar = {
        "PatientName": NAME,
        "PatientID": PATIENT,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
    }
    SECRETS = ("Jane", "Doe", "4711", STUDY)

    def test_the_raw_identifiers_are_there_for_the_pseudonyms(self) -> None:
        decoded = decode(changed(**self.TAGS, SOPInstanceUID=f"{STUDY}.2"))
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert decoded.dicom.patient_id == PATIENT
        assert decoded.dicom.study_instance_uid == STUDY
        assert decoded.dicom.series_instance_uid == f"{STUDY}.1"

    def test_missing_identifiers_are_empty(self) -> None:
        decoded = decode(changed(PatientID=None, StudyInstanceUID=None))
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert (decoded.dicom.patient_id, decoded.dicom.study_instance_uid) == ("", "")

    def test_a_png_has_no_identity(self) -> None:
        decoded = decode(png_of(RAMP))
        assert isinstance(decoded, Decoded) and decoded.dicom is None

    def test_no_repr_shows_them(self) -> None:
        decoded = decode(changed(**self.TAGS))
        assert isinstance(decoded, Decoded)
        self.assert_clean(repr(decoded), str(decoded), repr(decoded.dicom), repr(decoded.frames))

    @pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # pydicom warns when it writes such a file
    @pytest.mark.parametrize("modality", ["JD", "Jane^Doe", "PAT-4711", ["MR", "JD"], "DO"])
    def test_invalid_modality_is_not_repeated(self, modality: Any) -> None:
        rejection = rejected(changed(**self.TAGS, Modality=modality))
        assert rejection.reason is RejectionReason.NOT_MR
        assert rejection.detail == "Modality is not MR"

    def test_a_known_modality_is_named(self) -> None:
        assert rejected(shipped("CT_small.dcm")).detail == "Modality is CT"

    @pytest.mark.parametrize(
        "element",
        [
            b"\x28\x00\x00\x01US",
            b"\x28\x00\x10\x00US",
            b"\x28\x00\x11\x00US",
            b"\x28\x00\x01\x01US",
            b"\x28\x00\x02\x00US",
        ],
        ids=["BitsAllocated", "Rows", "Columns", "BitsStored", "SamplesPerPixel"],
    )
    def test_text_in_place_of_a_number_is_not_repeated(self, element: bytes) -> None:
        data = changed(**self.TAGS)
        at = data.index(element)
        named = data[:at] + element[:4] + b"LO\x08\0Jane^Doe" + data[at + 10 :]
        self.assert_clean(str(decode(named)))

    @pytest.mark.parametrize("keyword", ["NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope"])
    def test_a_number_that_is_text_is_not_repeated(self, keyword: str, caplog: pytest.LogCaptureFixture) -> None:
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(io.BytesIO(changed(**self.TAGS)))
            vr = pydicom.datadict.dictionary_VR(keyword)
            dataset[keyword] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(keyword), vr, 8, b"Jane^Doe", 0, False, True
            )
            data = written(dataset)
        caplog.set_level(logging.DEBUG)
        self.assert_clean(str(decode(data)), caplog.text)

    def test_nothing_is_logged_or_printed_about_odd_tags(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
    ) -> None:
        data = changed(**self.TAGS)
        odd = [
            patched(data, STUDY.encode(), b"Jane^Doe".ljust(len(STUDY), b"x")),
            changed(**self.TAGS, SpecificCharacterSet="Jane^Doe"),
            patched(data, b"\x10\x00\x30\x00DA", b"\x10\x00\x30\x00QQ"),
            *(data[:cut] for cut in range(600, 1400, 50)),
        ]
        caplog.set_level(logging.DEBUG)
        caplog.clear()  # removes logs of writing
        recwarn.clear()
        self.assert_clean(*(str(decode(each)) for each in odd))
        assert not caplog.records and not recwarn.list
        assert capfd.readouterr() == ("", "")

    def assert_clean(self, *texts: str) -> None:
        for text in texts:
            assert not [secret for secret in self.SECRETS if secret in text], text
