"""Test that DICOM in every encoding shows the same image, and that unsupported encodings are named."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom import uid

from braintumor.imaging.decoding.rejection import RejectionReason
from tests.decode_results import frame, rejected
from tests.dicom_files import changed, patched, shipped, written


class TestEncodings:
    @pytest.mark.parametrize(
        "name",
        [
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_expb.dcm",
            "MR_small_implicit.dcm",
            "MR_small_padded.dcm",
        ],
    )
    def test_every_encoding_shows_the_same_image(self, name: str) -> None:
        np.testing.assert_array_equal(frame(shipped(name)), frame(shipped("MR_small.dcm")))

    def test_a_deflated_object_shows_the_same_image(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        np.testing.assert_array_equal(frame(written(dataset)), frame(shipped("MR_small.dcm")))

    @pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"])
    def test_rle_of_every_depth_is_read_as_pydicom_reads_it(self, name: str) -> None:
        stored = pydicom.dcmread(io.BytesIO(shipped(name))).pixel_array
        shown = frame(changed(name, Modality="MR"))
        assert np.abs(shown - stored / np.iinfo(stored.dtype).max * 255).max() <= 0.5

    def test_a_bare_file_without_preamble_is_recognized(self) -> None:
        data = shipped("MR_small.dcm")
        np.testing.assert_array_equal(frame(data[132:]), frame(data))

    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
    def test_a_data_set_without_any_file_meta_is_recognized(self, name: str) -> None:
        data = shipped(name)
        stream = io.BytesIO(data[132:])
        meta = pydicom.filereader._read_file_meta_info(stream)
        assert meta.TransferSyntaxUID
        np.testing.assert_array_equal(frame(data[132 + stream.tell() :]), frame(data))

    def test_readable_syntaxes_are_not_rejected(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_jpeg_ls_lossless.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.MPEG2MPML
        rejection = rejected(written(dataset))
        assert rejection.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX
        assert "MPEG2 Main Profile" in rejection.detail

    def test_a_private_transfer_syntax_is_not_repeated(self) -> None:
        data = shipped("MR_small.dcm")
        known = uid.ExplicitVRLittleEndian.encode() + b"\0"
        rejection = rejected(patched(data, known, b"1.2.999.4711.9999999"[: len(known)].ljust(len(known), b"\0")))
        assert rejection.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX
        assert "4711" not in rejection.detail and "private or unknown" in rejection.detail
