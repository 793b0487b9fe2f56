"""Test that unscorable DICOM files get a reason, and that crafted files need little memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom import uid

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Limits
from tests.decode_results import rejected
from tests.dicom_files import RAMP, changed, mr_of, peak_bytes, shipped, written


class TestReasons:
    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda: shipped("CT_small.dcm"), RejectionReason.NOT_MR),
            (lambda: changed(Modality=None), RejectionReason.NOT_MR),
            (lambda: changed(PixelData=None), RejectionReason.NO_PIXELS),
            (lambda: changed(NumberOfFrames=3), RejectionReason.TRUNCATED),
            (lambda: changed(BurnedInAnnotation="YES"), RejectionReason.BURNED_IN_ANNOTATION),
            (lambda: shipped("MR_truncated.dcm"), RejectionReason.TRUNCATED),
            (lambda: changed(PixelData=bytes(100)), RejectionReason.TRUNCATED),
            (lambda: changed(Rows=None), RejectionReason.CORRUPT),
            (lambda: mr_of(RAMP[:20]), RejectionReason.TOO_SMALL),
            (lambda: mr_of(RAMP * 0), RejectionReason.BLANK_IMAGE),
            (lambda: shipped("rtplan.dcm"), RejectionReason.NOT_MR),
            (lambda: shipped("MR_small.dcm")[:-4000], RejectionReason.TRUNCATED),
            (lambda: shipped("MR_small_RLE.dcm")[:-2000], RejectionReason.TRUNCATED),
            (lambda: shipped("MR_small_jp2klossless.dcm")[:-2000], RejectionReason.TRUNCATED),
        ],
    )
    def test_unscorable_file_gets_its_reason(self, make: Callable[[], bytes], reason: RejectionReason) -> None:
        assert rejected(make()).reason is reason

    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.8])
    def test_a_file_cut_anywhere_is_truncated(self, share: float) -> None:
        data = shipped("MR_small.dcm")
        assert rejected(data[: int(len(data) * share)]).reason is RejectionReason.TRUNCATED


class TestBombs:
    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
    def test_huge_size_with_tiny_pixel_data_is_refused(self, name: str) -> None:
        data = changed(name, Rows=60_000, Columns=60_000)
        decode(data)
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason is RejectionReason.TOO_MANY_PIXELS

    @pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
    def test_size_beyond_the_data_allocates_nothing(self, name: str) -> None:
        data = changed(name, Rows=7_000, Columns=7_000)
        decode(data)
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason in {RejectionReason.TRUNCATED, RejectionReason.CORRUPT}

    @pytest.mark.parametrize("size", [3_000_000_000, 100_000_000])
    def test_a_deflated_bomb_is_refused_in_bounded_memory(self, size: int) -> None:
        data = self.deflated_bomb(size)
        assert len(data) < 4_000_000
        peak = peak_bytes(lambda: decode(data))
        assert rejected(data).reason is RejectionReason.TOO_MANY_BYTES
        assert peak < 3 * Limits().max_bytes

    def test_bomb_after_a_command_set_is_refused(self) -> None:
        # pydicom reads these bytes as an element of a command set, and skips them before it decompresses
        # they are also a complete deflated stream: two empty stored blocks and an empty last one
        dataset = self.deflated_bomb(500_000_000)
        meta = dataset[: self.meta_end(dataset)]
        command = b"\0\0\0\xff" + (255).to_bytes(4, "little") + b"\xff\xff\x03\0" + bytes(251)
        data = meta + command + dataset[len(meta) :]
        assert peak_bytes(lambda: decode(data)) < 3 * Limits().max_bytes
        assert rejected(data).reason is RejectionReason.TOO_MANY_BYTES

    def test_a_deflated_file_that_is_cut_is_truncated(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        assert rejected(written(dataset)[:-500]).reason is RejectionReason.TRUNCATED

    def test_run_lengths_beyond_the_image_need_little_memory(self) -> None:
        pixels = 2_000_000
        runs = b"\x81\x07" * (pixels // 2)  # each pair becomes 128 bytes
        segments = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
        data = self.rle(segments + runs, rows=1000, columns=2000)
        decode(data[:5000])
        assert peak_bytes(lambda: decode(data)) < 30_000_000
        assert rejected(data).reason is RejectionReason.CORRUPT

    @pytest.mark.parametrize(
        "body",
        [b"\x81\x07" * 33, b"\x7f" + b"\1" * 20, b"\x81\x07" * 31 + b"\x7f", b"", b"\x80" * 64, b"\x81\x07" * 31],
        ids=["too long", "literal past the end", "cut in a run", "empty", "nothing but no-ops", "too short"],
    )
    def test_too_few_run_lengths_are_refused_without_a_panic(
        self, body: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
        assert rejected(self.rle(header + body, rows=64, columns=64)).reason in {
            RejectionReason.CORRUPT,
            RejectionReason.TRUNCATED,
        }
        assert capfd.readouterr().err == ""

    def test_millions_of_empty_elements_need_little_memory(self) -> None:
        data = shipped("MR_small_implicit.dcm")
        numbers = np.arange(2_000_000, dtype=np.uint32)
        elements = np.zeros((len(numbers), 4), "<u2")  # group, element, and a length of 0
        elements[:, 0], elements[:, 1] = 9 + 2 * (numbers >> 16), numbers & 0xFFFF
        flood = data[: self.meta_end(data)] + elements.tobytes()
        assert peak_bytes(lambda: decode(flood)) < 60_000_000
        assert rejected(flood).reason is RejectionReason.CORRUPT

    def test_sequences_nested_ten_thousand_deep_are_refused(self) -> None:
        opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        data = shipped("MR_small.dcm")
        rejected(data[: self.meta_end(data)] + opened * 10_000)

    @staticmethod
    def rle(encoded: bytes, *, rows: int, columns: int) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(mr_of(RAMP, Rows=rows, Columns=columns)))
        dataset.file_meta.TransferSyntaxUID = uid.RLELossless
        dataset.PixelData = pydicom.encaps.encapsulate([encoded + b"\0" * (len(encoded) % 2)])
        dataset["PixelData"].VR = "OB"
        return written(dataset)

    @staticmethod
    def meta_end(data: bytes) -> int:
        stream = io.BytesIO(data[132:])
        pydicom.filereader._read_file_meta_info(stream)
        return 132 + stream.tell()

    def deflated_bomb(self, size: int) -> bytes:
        """Return an MR object whose PixelData decompresses to zeros: one compressed piece, repeated."""
        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        del dataset.PixelData
        plain = written(dataset)
        start = self.meta_end(plain)
        deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        parts = [deflater.compress(plain[start:] + b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little"))]
        parts.append(deflater.flush(zlib.Z_FULL_FLUSH))  # the next piece starts at a byte and refers to no earlier data
        piece = deflater.compress(bytes(10_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
        body = b"".join([*parts, piece * (size // 10_000_000), deflater.flush()])
        dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        deflated = written(dataset)
        return deflated[: self.meta_end(deflated)] + body
