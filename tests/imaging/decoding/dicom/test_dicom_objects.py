"""Test DICOM objects without pixels, and objects without preamble or marker."""

from __future__ import annotations

import io
import struct

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.formats import sniff
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from tests.decode_results import frame, rejected
from tests.dicom_files import RAMP, changed, mr_of, patched, shipped, written

PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"
IMPLICIT, EXPLICIT, BIG = "MR_small_implicit.dcm", "MR_small.dcm", "MR_small_bigendian.dcm"


def data_set_of(data: bytes) -> bytes:
    """Return the data set after preamble, marker and file meta information."""
    stream = io.BytesIO(data[132:])
    assert pydicom.filereader._read_file_meta_info(stream)
    return data[132 + stream.tell() :]


def with_icon(name: str, *, is_length_stated: bool) -> bytes:
    """Return an MR object whose only image is a thumbnail, in the last element of the file."""
    dataset = pydicom.dcmread(io.BytesIO(shipped(name)))
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.SamplesPerPixel = 8, 8, 8, 1
    icon.add_new("PixelData", "OB", bytes(64))
    for keyword in ("PixelData", "DataSetTrailingPadding"):
        dataset.pop(keyword, None)
    dataset.IconImageSequence = Sequence([icon])
    dataset["IconImageSequence"].is_undefined_length = not is_length_stated
    return written(dataset)


EMPTY_OFFSET_TABLE = b"\xfe\xff\x00\xe0\0\0\0\0"


def without_fragments() -> bytes:
    """Return compressed pixel data that contains only an empty offset table."""
    dataset = pydicom.dcmread(io.BytesIO(mr_of(RAMP)))
    dataset.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    dataset.PixelData = EMPTY_OFFSET_TABLE
    dataset["PixelData"].is_undefined_length = True
    return written(dataset)


class TestWithoutPixels:
    @pytest.mark.parametrize("name", [EXPLICIT, IMPLICIT, BIG])
    @pytest.mark.parametrize("is_length_stated", [True, False])
    def test_an_icon_is_no_pixel_data(self, name: str, is_length_stated: bool) -> None:
        data = with_icon(name, is_length_stated=is_length_stated)
        assert rejected(data) == Rejection(reason=RejectionReason.NO_PIXELS, detail="no PixelData")

    @pytest.mark.parametrize("is_length_stated", [True, False])
    def test_an_object_that_is_cut_in_its_icon_is_truncated(self, is_length_stated: bool) -> None:
        data = with_icon(EXPLICIT, is_length_stated=is_length_stated)
        for cut in (4, 20, 60):
            assert rejected(data[:-cut]).reason is RejectionReason.TRUNCATED, cut

    @pytest.mark.parametrize("document", [b"%PDF-1.4 " + PIXEL_DATA_TAG, PIXEL_DATA_TAG * 100, b"%PDF-1.7 "])
    def test_an_encapsulated_document_has_no_pixels(self, document: bytes) -> None:
        data = changed(PixelData=None, DataSetTrailingPadding=None, EncapsulatedDocument=document)
        assert rejected(data).reason is RejectionReason.NO_PIXELS

    @pytest.mark.parametrize("last", ["Modality", "StudyDescription"])
    def test_an_object_that_ends_with_any_element_has_no_pixels(self, last: str) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped(EXPLICIT)))
        dataset.StudyDescription = "none"
        for tag in list(dataset.keys()):
            if tag > dataset[last].tag:
                del dataset[tag]
        assert rejected(written(dataset)) == Rejection(reason=RejectionReason.NO_PIXELS, detail="no PixelData")

    def test_spectroscopy_has_no_pixels(self) -> None:
        data = changed(PixelData=None, DataSetTrailingPadding=None, SpectroscopyData=PIXEL_DATA_TAG * 64)
        assert rejected(data).reason is RejectionReason.NO_PIXELS

    @pytest.mark.parametrize("name", [EXPLICIT, IMPLICIT, BIG])
    def test_pixel_data_of_length_0_is_no_pixels(self, name: str) -> None:
        data = changed(name, PixelData=b"", DataSetTrailingPadding=None)
        assert rejected(data) == Rejection(reason=RejectionReason.NO_PIXELS, detail="PixelData has no value")

    def test_compressed_pixel_data_without_fragment_is_no_pixels(self) -> None:
        data = without_fragments()
        assert rejected(data).reason is RejectionReason.NO_PIXELS
        assert rejected(patched(data, EMPTY_OFFSET_TABLE, b"")).reason is RejectionReason.NO_PIXELS

    def test_pixel_data_that_is_cut_to_no_byte_is_truncated(self) -> None:
        data = changed(DataSetTrailingPadding=None)
        end = data.index(PIXEL_DATA_TAG) + 12  # tag, VR, two reserved bytes, length
        assert rejected(data[:end]).reason is RejectionReason.TRUNCATED


class TestBare:
    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_first_elements_without_value_are_passed_over(self, count: int) -> None:
        whole = data_set_of(shipped(IMPLICIT))
        empty = b"".join(struct.pack("<HHI", 8, element, 0) for element in range(1, count + 1))
        assert whole[:4] == struct.pack("<HH", 8, 8)
        np.testing.assert_array_equal(frame(empty + whole), frame(shipped(IMPLICIT)))

    @pytest.mark.parametrize("name", [EXPLICIT, IMPLICIT, BIG])
    @pytest.mark.parametrize("has_meta", [True, False])
    def test_a_preamble_of_zeros_needs_no_marker(self, name: str, has_meta: bool) -> None:
        rest = shipped(name)[132:] if has_meta else data_set_of(shipped(name))
        np.testing.assert_array_equal(frame(bytes(128) + rest), frame(shipped(name)))

    @pytest.mark.parametrize(
        "data",
        [
            bytes(2000),
            b"\x08\x00" + bytes(2000),
            struct.pack("<HHI", 8, 5, 0) + b"plain text, and more of it",
            struct.pack("<HHI", 8, 5, 0) + struct.pack("<HHI", 8, 5, 4) + b"text",  # the same element twice
            struct.pack("<HHI", 8, 5, 0) + struct.pack("<HHI", 8, 22, 999_999),
            struct.pack("<HHI", 8, 5, 0),
            bytes(128) + b"JUNK" * 50,
        ],
    )
    def test_invalid_first_element_is_not_dicom(self, data: bytes) -> None:
        assert sniff(data) is None
        assert rejected(data).reason is RejectionReason.UNSUPPORTED_FORMAT

    def test_a_preamble_of_zeros_with_a_cut_object_is_truncated(self) -> None:
        result = decode(bytes(128) + data_set_of(shipped(EXPLICIT))[:3000])
        assert isinstance(result, Rejection) and result.reason is RejectionReason.TRUNCATED
