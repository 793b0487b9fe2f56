"""Test that missing and malformed optional attributes never reject an object with good pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.dicom_files import changed, mr_of, set_bytes, with_bytes

GRAY = draw(TumorClass.GLIOMA, seed=4, size=96).pixels
DEEP = GRAY.astype(np.uint16) * 16
COLOR = np.dstack([GRAY, GRAY[::-1], np.zeros_like(GRAY)])
UNUSABLE = [b"", b"- ", b"abc ", b"1.500,5 ", b"nan ", b"inf ", b"1e400 ", b"9" * 16, b"\\\\ ", b"\xff\xfe\xfd\xfc"]


def deep(**tags: Any) -> bytes:
    """Return 16-bit pixels without a window, unless tags state one."""
    return mr_of(DEEP, **{"WindowCenter": None, "WindowWidth": None, **tags})


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


class TestNumbers:
    @pytest.mark.parametrize(
        ("center", "width", "expected"),
        [
            (b"1500,0", b"3001,0", (1500, 3001)),
            (b" 1500 ", b"3001,50 ", (1500, 3001.5)),
            (b"1,5E3 ", b"3001\0", (1500, 3001)),
            (b"-\\1500", b"-\\3001", (1500, 3001)),
            (b"900\\1500", b"0\\3001", (1500, 3001)),
        ],
    )
    def test_window_with_comma_or_after_unusable_one_is_read(
        self, center: bytes, width: bytes, expected: tuple[float, float]
    ) -> None:
        data = with_bytes(with_bytes(deep(), "WindowCenter", center), "WindowWidth", width)
        shown = frame(deep(WindowCenter=expected[0], WindowWidth=expected[1]))
        np.testing.assert_array_equal(frame(data), shown)

    @pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth"])
    @pytest.mark.parametrize("value", UNUSABLE)
    def test_an_unusable_window_counts_as_absent(self, keyword: str, value: bytes) -> None:
        data = with_bytes(deep(WindowCenter=1500, WindowWidth=3001), keyword, value)
        np.testing.assert_array_equal(frame(data), frame(deep()))

    @pytest.mark.parametrize("value", [*UNUSABLE, b"0 ", b"0.0 ", b"-0,0", b"1e-30 "])
    def test_an_unusable_slope_counts_as_1(self, value: bytes) -> None:
        data = with_bytes(deep(WindowCenter=1500, WindowWidth=3001), "RescaleSlope", value)
        np.testing.assert_array_equal(frame(data), frame(deep(WindowCenter=1500, WindowWidth=3001)))

    @pytest.mark.parametrize("value", UNUSABLE)
    def test_an_unusable_intercept_counts_as_0(self, value: bytes) -> None:
        data = with_bytes(deep(WindowCenter=1500, WindowWidth=3001), "RescaleIntercept", value)
        np.testing.assert_array_equal(frame(data), frame(deep(WindowCenter=1500, WindowWidth=3001)))

    def test_a_rescale_with_commas_is_applied(self) -> None:
        window = {"WindowCenter": 700, "WindowWidth": 1501}
        data = with_bytes(with_bytes(deep(**window), "RescaleSlope", b"0,5 "), "RescaleIntercept", b"-12,5 ")
        np.testing.assert_array_equal(frame(data), frame(deep(**window, RescaleSlope=0.5, RescaleIntercept=-12.5)))

    def test_unusable_numbers_of_a_frame_count_as_absent(self) -> None:
        groups = item(
            FrameVOILUTSequence=Sequence([item(WindowCenter=1500, WindowWidth=0)]),
            PixelValueTransformationSequence=Sequence([item(RescaleSlope=0, RescaleIntercept=0)]),
        )
        data = deep(PerFrameFunctionalGroupsSequence=Sequence([groups]))
        np.testing.assert_array_equal(frame(data), frame(deep()))

    def test_a_comma_in_a_frame_is_read(self) -> None:
        voi = item(WindowWidth=3001)
        set_bytes(voi, "WindowCenter", b"1500,0")
        data = deep(PerFrameFunctionalGroupsSequence=Sequence([item(FrameVOILUTSequence=Sequence([voi]))]))
        np.testing.assert_array_equal(frame(data), frame(deep(WindowCenter=1500, WindowWidth=3001)))

    @pytest.mark.parametrize("value", [b"", b"abc ", b"1A", b"0 ", b"-3"])
    def test_an_unusable_number_of_frames_counts_as_1(self, value: bytes) -> None:
        np.testing.assert_array_equal(frame(with_bytes(deep(), "NumberOfFrames", value)), frame(deep()))

    @pytest.mark.parametrize("vr", ["US", "LO", "UN"])
    @pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\2\0\3", b"??? "])
    @pytest.mark.parametrize("keyword", ["PlanarConfiguration", "PixelRepresentation", "BitsStored", "HighBit"])
    def test_junk_in_a_pixel_attribute_leaves_the_default(self, keyword: str, value: bytes, vr: str) -> None:
        np.testing.assert_array_equal(frame(with_bytes(deep(), keyword, value, vr=vr)), frame(deep()))

    @pytest.mark.parametrize("value", UNUSABLE)
    @pytest.mark.parametrize(
        "keyword",
        ["InstanceNumber", "PatientAge", "MagneticFieldStrength", "RepetitionTime", "EchoTime", "VOILUTFunction"],
    )
    def test_junk_in_other_attributes_changes_nothing(self, keyword: str, value: bytes) -> None:
        window = {"WindowCenter": 1500, "WindowWidth": 3001}
        np.testing.assert_array_equal(frame(with_bytes(deep(**window), keyword, value)), frame(deep(**window)))

    @pytest.mark.parametrize("keyword", ["VOILUTSequence", "SharedFunctionalGroupsSequence"])
    def test_text_in_place_of_a_sequence_counts_as_absent(self, keyword: str) -> None:
        np.testing.assert_array_equal(frame(with_bytes(deep(), keyword, b"none", vr="LO")), frame(deep()))

    def test_a_size_has_no_default(self) -> None:
        rejection = rejected(with_bytes(deep(), "Columns", b"abc ", vr="LO"))
        assert rejection.reason is RejectionReason.CORRUPT
        assert rejection.detail == "Columns is not a whole number above 0"


class TestDefaults:
    @pytest.mark.parametrize(
        "missing",
        [
            ["PhotometricInterpretation"],
            ["SamplesPerPixel"],
            ["PixelRepresentation"],
            ["BitsStored"],
            ["HighBit"],
            ["PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation", "BitsStored", "HighBit"],
        ],
    )
    def test_a_missing_attribute_of_gray_pixels_has_its_usual_value(self, missing: list[str]) -> None:
        np.testing.assert_array_equal(frame(deep(**dict.fromkeys(missing))), frame(deep()))

    @pytest.mark.parametrize("missing", ["SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation"])
    def test_a_missing_attribute_of_color_pixels_has_its_usual_value(self, missing: str) -> None:
        np.testing.assert_array_equal(frame(mr_of(COLOR, **{missing: None})), COLOR)

    def test_missing_stored_bits_end_at_the_high_bit(self) -> None:
        with_overlay = (GRAY.astype(np.uint16) * 16) | np.uint16(0x8000)
        data = mr_of(with_overlay, BitsStored=None, HighBit=11, WindowCenter=2048, WindowWidth=4096)
        expected = mr_of(DEEP, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096)
        np.testing.assert_array_equal(frame(data), frame(expected))

    def test_padding_is_read_without_pixel_representation(self) -> None:
        data = with_bytes(deep(PixelRepresentation=None), "PixelPaddingValue", b"\xff\xff", vr="US")
        np.testing.assert_array_equal(frame(data), frame(deep()))

    def test_a_color_that_one_sample_cannot_have_is_gray(self) -> None:
        np.testing.assert_array_equal(frame(deep(PhotometricInterpretation="RGB")), frame(deep()))

    def test_gray_with_three_samples_is_color(self) -> None:
        np.testing.assert_array_equal(frame(mr_of(COLOR, PhotometricInterpretation="MONOCHROME2")), COLOR)

    def test_color_with_one_sample_is_color_where_its_length_is(self) -> None:
        np.testing.assert_array_equal(frame(mr_of(COLOR, SamplesPerPixel=1)), COLOR)

    def test_color_that_is_cut_stays_truncated(self) -> None:
        assert rejected(mr_of(COLOR, PixelData=bytes(GRAY.size))).reason is RejectionReason.TRUNCATED


class TestCodes:
    @pytest.mark.parametrize("modality", [b"mr", b"Mr", b" MR ", b"MR\0\0", b"MR\\"])
    def test_a_modality_is_read_in_any_case_and_with_blanks(self, modality: bytes) -> None:
        np.testing.assert_array_equal(frame(with_bytes(deep(), "Modality", modality)), frame(deep()))

    def test_another_modality_in_small_letters_is_named(self) -> None:
        assert rejected(with_bytes(deep(), "Modality", b"ct")).detail == "Modality is CT"

    @pytest.mark.parametrize("photometric", [b"monochrome1 ", b" MONOCHROME1", b"Monochrome1\0"])
    def test_a_photometric_interpretation_is_read_in_any_case(self, photometric: bytes) -> None:
        data = with_bytes(deep(), "PhotometricInterpretation", photometric)
        np.testing.assert_array_equal(frame(data), frame(deep(PhotometricInterpretation="MONOCHROME1")))

    @pytest.mark.parametrize("annotation", [b"yes ", b" YES", b"Yes\0"])
    def test_burned_in_text_is_refused_in_any_case(self, annotation: bytes) -> None:
        data = with_bytes(deep(), "BurnedInAnnotation", annotation)
        assert rejected(data).reason is RejectionReason.BURNED_IN_ANNOTATION

    def test_a_window_function_is_read_in_any_case(self) -> None:
        window = {"WindowCenter": 1500, "WindowWidth": 800}
        data = with_bytes(deep(**window), "VOILUTFunction", b"sigmoid ")
        np.testing.assert_array_equal(frame(data), frame(deep(**window, VOILUTFunction="SIGMOID")))

    def test_an_implicit_object_is_read_with_all_defaults(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(changed("MR_small_implicit.dcm")))
        for keyword in ("PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "HighBit"):
            del dataset[keyword]
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        np.testing.assert_array_equal(frame(buffer.getvalue()), frame(changed("MR_small_implicit.dcm")))
