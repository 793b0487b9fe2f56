"""Test that damaged, too large and unreadable files are rejected, and that no tag leaks."""

from __future__ import annotations

import io
import random
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import MPEG4HP41, DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from braintumor.imaging.decoding import decode as decoding
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.formats import sniff
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.decoding.warning_filter import WARNING_FILTER
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import rejected
from tests.dicom_files import changed, shipped, with_bytes, written
from tests.images import saved
from tests.loaded_modules import decode_file, loaded_modules

GRAY = draw(TumorClass.PITUITARY, seed=3, size=96).pixels
STUDY = b"1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"
"""Study UID of the shipped MR files."""
END_OF_PNG = 12
"""Bytes of the IEND chunk."""


def deflated() -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return written(dataset)


class TestTruncated:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_image_cut_anywhere_is_truncated(self, kind: str) -> None:
        data = saved(Image.fromarray(GRAY), kind)
        for cut in [9, 20, 30, len(data) // 3, len(data) - END_OF_PNG - 1, len(data) - 4, len(data) - 1]:
            assert rejected(data[:cut]).reason is RejectionReason.TRUNCATED, cut

    @pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
    def test_pixel_data_cut_anywhere_is_truncated(self, name: str) -> None:
        data = shipped(name)
        start = data.index(b"\xe0\x7f\x10\x00")
        for cut in range(start + 5, len(data) - 400, 500):
            assert rejected(data[:cut]).reason is RejectionReason.TRUNCATED, cut

    def test_file_with_fewer_pixels_than_stated_is_truncated(self) -> None:
        assert rejected(shipped("MR_truncated.dcm")).detail == "8,130 bytes of pixel data, 8,192 expected"

    def test_a_header_cut_inside_an_element_is_truncated(self) -> None:
        data = shipped("MR_small.dcm")
        name = data.index(b"CompressedSamples")
        assert rejected(data[: name + 5]).reason is RejectionReason.TRUNCATED

    def test_a_deflated_object_cut_short_is_truncated(self) -> None:
        assert isinstance(decode(deflated()), Decoded)
        assert rejected(deflated()[:-500]).reason is RejectionReason.TRUNCATED

    def test_codestream_without_end_marker_is_truncated(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_jp2klossless.dcm")))
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = encapsulate([stream[: len(stream) // 2]])
        dataset["PixelData"].is_undefined_length = True
        assert rejected(written(dataset)).reason is RejectionReason.TRUNCATED


class TestCorrupt:
    def test_a_png_whose_pixels_fail_their_checksum_is_not_scored(self) -> None:
        data = bytearray(saved(Image.fromarray(GRAY), "PNG", compress_level=0))
        data[len(data) // 2] ^= 0x10
        assert rejected(bytes(data)).reason is RejectionReason.CORRUPT

    def test_nonsense_after_a_signature_is_corrupt(self) -> None:
        assert rejected(b"\xff\xd8\xff" + b"nonsense" * 20 + b"\xff\xd9").reason is RejectionReason.CORRUPT

    def test_codestream_of_another_size_than_stated_is_corrupt(self) -> None:
        refusal = rejected(changed("MR_small_jp2klossless.dcm", Rows=128))
        assert refusal.reason is RejectionReason.CORRUPT
        assert "64 x 64, the header states 64 x 128" in refusal.detail

    def test_excess_rle_data_is_corrupt(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_RLE.dcm")))
        dataset.PixelData = encapsulate([b"\x81\0" * 1_000_000])
        dataset["PixelData"].is_undefined_length = True
        assert rejected(written(dataset)).reason is RejectionReason.CORRUPT

    def test_rle_that_makes_its_decoder_panic_is_corrupt(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_RLE.dcm")))
        segments = struct.pack("<16I", 2, 64, 200, *[0] * 13) + b"\x81\0" * 4_000
        dataset.PixelData = encapsulate([segments])
        dataset["PixelData"].is_undefined_length = True
        assert rejected(written(dataset)).reason is RejectionReason.CORRUPT

    def test_a_size_that_is_no_number_is_corrupt(self) -> None:
        data = with_bytes(shipped("MR_small.dcm"), "Rows", b"6A", vr="IS")
        assert rejected(data).detail == "Rows is not a whole number above 0"

    def test_memory_error_is_raised_not_rejected(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def short_of_memory(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(decoding, "_decode_as", short_of_memory)
        with pytest.raises(MemoryError):
            decode(saved(Image.fromarray(GRAY), "PNG"))


class TestTooMuch:
    def test_codestream_bomb_in_a_small_object_is_refused(self) -> None:
        data = shipped("JPEG2000-embedded-sequence-delimiter.dcm")  # states 3.8 trillion pixels
        as_mr = pydicom.dcmread(io.BytesIO(data))
        as_mr.Modality = "MR"
        assert rejected(written(as_mr)).reason is RejectionReason.TOO_MANY_PIXELS

    def test_an_animated_png_is_several_frames(self) -> None:
        other = Image.fromarray(255 - GRAY)
        refusal = rejected(saved(Image.fromarray(GRAY), "PNG", save_all=True, append_images=[other]))
        assert refusal.reason is RejectionReason.MULTI_FRAME


class TestEncodings:
    def test_a_compression_without_decoder_is_named(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small_jp2klossless.dcm")))
        dataset.file_meta.TransferSyntaxUID = MPEG4HP41
        refusal = rejected(written(dataset))
        assert refusal.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX and "MPEG-4" in refusal.detail

    def test_a_private_transfer_syntax_is_not_repeated(self) -> None:
        data = shipped("MR_small_jp2klossless.dcm").replace(b"1.2.840.10008.1.2.4.90", b"1.2.999.77777.1.2.4.90")
        refusal = rejected(data)
        assert refusal.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX and "77777" not in refusal.detail

    @pytest.mark.parametrize(
        "name", ["MR_small_implicit.dcm", "MR_small_expb.dcm", "MR_small_padded.dcm", "MR_small_jpeg_ls_lossless.dcm"]
    )
    def test_every_encoding_of_a_file_shows_the_same(self, name: str) -> None:
        one, other = decode(shipped("MR_small.dcm")), decode(shipped(name))
        assert isinstance(one, Decoded) and isinstance(other, Decoded)
        assert one.pixel_sha256 == other.pixel_sha256

    def test_deflated_and_recompressed_show_the_same(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.compress(JPEG2000Lossless)
        files = [shipped("MR_small.dcm"), deflated(), written(dataset)]
        decoded = [decode(data) for data in files]
        assert len({d.pixel_sha256 for d in decoded if isinstance(d, Decoded)}) == 1
        assert all(isinstance(d, Decoded) for d in decoded)

    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
    def test_a_data_set_without_preamble_and_meta_is_read(self, name: str) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped(name)))
        is_implicit, is_little = dataset.original_encoding
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, _bare(dataset), implicit_vr=is_implicit, little_endian=is_little)
        assert buffer.getvalue()[128:132] != b"DICM"
        assert sniff(buffer.getvalue()) == "dicom"
        one, other = decode(shipped(name)), decode(buffer.getvalue())
        assert isinstance(one, Decoded) and isinstance(other, Decoded), other
        assert one.pixel_sha256 == other.pixel_sha256

    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            ({"Modality": "CT"}, "Modality is CT"),
            ({"Modality": "DOE"}, "Modality is not MR"),
            ({"Modality": ""}, "the object has no Modality"),
        ],
    )
    def test_only_known_modalities_are_repeated(self, tags: dict[str, str], expected: str) -> None:
        assert rejected(changed(**tags)).detail == expected


def _bare(dataset: Any) -> pydicom.Dataset:
    bare = pydicom.Dataset()
    bare.update({element.tag: element for element in dataset if element.tag.group > 0x0002})
    return bare


class TestNothingLeaks:
    def odd(self) -> bytes:
        """Return a file for which pydicom warns and quotes its tags."""
        return shipped("MR_small.dcm").replace(STUDY, b"Doe.Jane.1970".ljust(len(STUDY), b"."))

    def test_quoted_tags_of_pydicom_do_not_leak(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.WARN)
        assert b"Doe.Jane" in self.odd()
        with pytest.warns(UserWarning, match="Doe"):
            str(pydicom.dcmread(io.BytesIO(self.odd())).StudyInstanceUID)
        assert "Doe" in caplog.text
        caplog.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decoded = decode(self.odd())
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert "Doe" in decoded.dicom.study_instance_uid
        assert not caplog.records and capfd.readouterr() == ("", "")
        assert "Doe" not in repr(decoded) + str(decoded.dicom) + f"{decoded.frames}"

    def test_nested_filter_ends_with_an_error(self) -> None:
        filters = list(warnings.filters)
        with pytest.raises(ValueError, match="inside"), WARNING_FILTER, WARNING_FILTER:
            raise ValueError("inside")
        assert list(warnings.filters) == filters


def test_png_is_decoded_without_pydicom_or_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "gray.png").write_bytes(saved(Image.fromarray(GRAY), "PNG"))
    assert not {"pydicom", "tensorflow", "keras"} & loaded_modules(decode_file, tmp_path / "gray.png")


@pytest.mark.parametrize("reason", RejectionReason)
def test_every_reason_has_explanation_and_remedy(reason: RejectionReason) -> None:
    assert reason.explanation.endswith(".") and reason.remedy.endswith(".")
    assert reason.explanation != reason.remedy


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg 2000"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"PK\x03\x04", "zip"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "heic"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "mp4"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"\xff\x4f\xff\x51\0\x2f", "jpeg 2000"),
        (b"GIF89a", "gif"),
        (b"BM\x36\0\0\0", "bmp"),
        (b"%PDF-1.7", "pdf"),
        (b"\x5c\x01\0\0" + bytes(344), "analyze 7.5"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "nifti"),
        (b"\x08\0\x05\0CS\n\0ISO_IR 100", "dicom"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "dicom"),
        (b"\x08\0\x05\0\x0b\0\0\xf0anything", None),
        (b"II*\0" + bytes(124) + b"DICM", "dicom"),
        (b"\x08\0", None),
        (b"x", None),
    ],
)
def test_formats_are_recognized_by_content(data: bytes, expected: str | None) -> None:
    assert sniff(data) == expected


FUZZED = {
    "jpeg": lambda: saved(Image.fromarray(GRAY), "JPEG"),
    "color jpeg": lambda: _color("JPEG"),
    "png": lambda: saved(Image.fromarray(GRAY), "PNG"),
    "palette png": lambda: _color("PNG"),
    "implicit": lambda: shipped("MR_small_implicit.dcm"),
    "rle": lambda: shipped("MR_small_RLE.dcm"),
    "jpeg 2000": lambda: shipped("MR_small_jp2klossless.dcm"),
    "deflated": deflated,
}


def _color(kind: str) -> bytes:
    color = Image.fromarray(np.dstack([GRAY, GRAY[::-1], GRAY]))
    buffer = io.BytesIO()
    (color.quantize(64) if kind == "PNG" else color).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("name", FUZZED)
def test_fuzzed_bytes_give_a_result_without_output(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole, rng = FUZZED[name](), random.Random(f"fuzz {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(80):
            damaged = bytearray(whole)
            for _ in range(rng.choice([1, 1, 3, 30])):
                # half of the changes are in the header, because it decides more than pixels
                reach = len(damaged) if rng.random() < 0.5 else min(1500, len(damaged))
                damaged[rng.randrange(reach)] = rng.randrange(256)
            if rng.random() < 0.3:
                del damaged[rng.randrange(1, len(damaged)) :]
            assert isinstance(decode(bytes(damaged)), Decoded | Rejection)
    if name != "rle":  # its decoder in Rust prints the place of a panic, but no data
        assert capfd.readouterr() == ("", "")
