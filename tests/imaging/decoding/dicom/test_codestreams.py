"""Test that compressed frames of real encoders are read, and that cut or too large ones are rejected."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from imagecodecs import jpeg8_encode
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.jpeg import read_structure
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.dicom_files import changed, codestream, encapsulated, mr_of, peak_bytes
from tests.images import saved

GRAY = draw(TumorClass.PITUITARY, seed=8, size=96).pixels
DEEP = GRAY.astype(np.uint16) * 16
COLOR = np.dstack([GRAY, GRAY // 2, GRAY[::-1]])
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
LOSSLESS = [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless]
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    """Return a lossy JPEG of 8 bits, in YCbCr for color."""
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


def without_app(stream: bytes) -> bytes:
    """Return a JPEG without the segment that names its color space."""
    assert stream[2:3] == b"\xff" and stream[3] in {0xE0, 0xEE}
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def baseline(stream: bytes, pixels: NDArray[Any], **tags: Any) -> bytes:
    return encapsulated(mr_of(pixels, **tags), uid.JPEGBaseline8Bit, [stream])


def assert_close(pixels: NDArray[np.uint8], expected: NDArray[np.uint8], most: float = 2.0) -> None:
    """Assert equality up to the changes of lossy compression."""
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() <= most


class TestEnd:
    @pytest.mark.parametrize("syntax", LOSSLESS)
    @pytest.mark.parametrize("behind", [bytes(2), bytes(40), bytes(5000), b"\xff", b"\xff" * 31, b"padding " * 9])
    def test_bytes_after_the_end_are_ignored(self, syntax: str, behind: bytes) -> None:
        data = encapsulated(mr_of(DEEP), syntax, [codestream(DEEP, syntax) + behind])
        np.testing.assert_array_equal(frame(data), frame(mr_of(DEEP)))

    @pytest.mark.parametrize("behind", [bytes(40), b"\xff" * 31])
    def test_bytes_after_the_end_of_a_lossy_jpeg_are_ignored(self, behind: bytes) -> None:
        np.testing.assert_array_equal(frame(baseline(jpeg(GRAY) + behind, GRAY)), frame(baseline(jpeg(GRAY), GRAY)))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    @pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
    def test_a_stream_cut_anywhere_is_truncated(self, syntax: str, share: float) -> None:
        stream = codestream(DEEP, syntax)
        data = encapsulated(mr_of(DEEP), syntax, [stream[: int(len(stream) * share)] + bytes(40)])
        assert rejected(data).reason is RejectionReason.TRUNCATED

    def test_the_end_of_a_thumbnail_is_not_that_of_the_stream(self) -> None:
        whole, thumbnail = jpeg(GRAY), jpeg(GRAY[:32, :32])
        segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        with_thumbnail = whole[:2] + segment + whole[2:]
        assert_close(frame(baseline(with_thumbnail, GRAY)), GRAY)
        assert rejected(baseline(with_thumbnail[:-300], GRAY)).reason is RejectionReason.TRUNCATED

    def test_each_frame_may_have_bytes_after_its_end(self) -> None:
        volume = [DEEP, DEEP[::-1].copy(), DEEP[:, ::-1].copy()]
        streams = [codestream(each, uid.JPEGLosslessSV1) + bytes(40) for each in volume]
        decoded = decode(encapsulated(mr_of(DEEP, **WINDOW), uid.JPEGLosslessSV1, streams, NumberOfFrames=3))
        assert isinstance(decoded, Decoded)
        for result, each in zip(decoded.frames, volume, strict=True):
            np.testing.assert_array_equal(result.pixels, frame(mr_of(each, **WINDOW)))


class TestRuns:
    """Test RLE: a header of 64 bytes, then a segment for each byte of a sample, the highest first."""

    @staticmethod
    def segment(values: NDArray[np.uint8]) -> bytes:
        """Return literal runs only."""
        data = values.tobytes()
        pieces = [data[at : at + 128] for at in range(0, len(data), 128)]
        return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)

    @staticmethod
    def joined(segments: list[bytes]) -> bytes:
        even = [each + bytes(len(each) % 2) for each in segments]
        offsets = [64 + sum(map(len, even[:place])) for place in range(len(even))]
        header = [len(even), *offsets, *[0] * (15 - len(even))]
        return np.array(header, "<u4").tobytes() + b"".join(even)

    def object_of(self, behind: bytes, *, count: int = 1) -> bytes:
        high, low = self.segment((DEEP >> 8).astype(np.uint8)), self.segment((DEEP & 255).astype(np.uint8))
        stream = self.joined([high + behind, low + behind])
        return encapsulated(mr_of(DEEP, **WINDOW), uid.RLELossless, [stream] * count, NumberOfFrames=count)

    @pytest.mark.parametrize(
        "behind",
        [
            b"",
            b"\x80",
            bytes(2),
            bytes(4),
            bytes(1000),
            b"\x80" * 6,
            b"\x00\x07",
            b"\x02abc",
            b"\xff\x05",
            b"\xf0\x07",
            b"\x00\x07\x80\x80",
        ],
        ids=str,
    )
    def test_excess_bytes_of_a_segment_are_cut_off(self, behind: bytes) -> None:
        np.testing.assert_array_equal(frame(self.object_of(behind)), frame(mr_of(DEEP, **WINDOW)))

    @pytest.mark.parametrize("last", [b"\x03", b"\xfd"], ids=["literal", "repeated"])
    @pytest.mark.parametrize("excess", [1, 2])
    def test_a_last_run_that_is_too_long_is_shortened(self, last: bytes, excess: int) -> None:
        values = np.full((64, 64), 9, np.uint8)
        values[20:40, 10:30] = 200
        flat = values.ravel()
        last_run = last + (b"\x09" * 4 if last == b"\x03" else b"\x09")  # four bytes of 9
        stream = self.joined([self.segment(flat[: 64 * 64 - 4 + excess]) + last_run])
        np.testing.assert_array_equal(frame(encapsulated(mr_of(values), uid.RLELossless, [stream])), values)

    def test_every_frame_is_cut(self) -> None:
        decoded = decode(self.object_of(b"\x00\x07", count=3))
        assert isinstance(decoded, Decoded) and len(decoded.frames) == 3
        assert all(np.array_equal(each.pixels, frame(mr_of(DEEP, **WINDOW))) for each in decoded.frames)

    @pytest.mark.parametrize("behind", [b"\x81\x07", b"\x81\x07" * 50_000], ids=["a run", "a bomb"])
    def test_more_than_a_row_too_much_is_refused(self, behind: bytes) -> None:
        data = self.object_of(behind)
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason is RejectionReason.CORRUPT

    def test_one_segment_in_sixteen_bits_allocated_has_eight(self) -> None:
        data = mr_of(GRAY, BitsAllocated=16, BitsStored=8, HighBit=7)
        stream = self.joined([self.segment(GRAY)])
        np.testing.assert_array_equal(frame(encapsulated(data, uid.RLELossless, [stream])), GRAY)

    def test_three_segments_are_color_for_any_header(self) -> None:
        stream = self.joined([self.segment(COLOR[..., channel]) for channel in range(3)])
        data = mr_of(COLOR, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")
        np.testing.assert_array_equal(frame(encapsulated(data, uid.RLELossless, [stream])), COLOR)


class TestAllocation:
    """Test that the stated allocated bits do not limit the compressed image."""

    EIGHT_IN_SIXTEEN = {"BitsAllocated": 16, "BitsStored": 8, "HighBit": 7}  # noqa: RUF012 - read only

    @pytest.mark.parametrize("tags", [EIGHT_IN_SIXTEEN, {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}])
    def test_a_baseline_jpeg_has_eight_bits(self, tags: dict[str, int]) -> None:
        np.testing.assert_array_equal(frame(baseline(jpeg(GRAY), GRAY, **tags)), frame(baseline(jpeg(GRAY), GRAY)))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_eight_bits_in_sixteen_are_read(self, syntax: str) -> None:
        data = encapsulated(mr_of(GRAY, **self.EIGHT_IN_SIXTEEN), syntax, [codestream(GRAY, syntax)])
        np.testing.assert_array_equal(frame(data), GRAY)

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_sixteen_bits_with_header_of_eight_are_read(self, syntax: str) -> None:
        tags = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "WindowCenter": 2048, "WindowWidth": 4096}
        data = encapsulated(mr_of(DEEP, **tags), syntax, [codestream(DEEP, syntax)])
        np.testing.assert_array_equal(frame(data), frame(mr_of(DEEP, WindowCenter=2048, WindowWidth=4096)))


class TestColor:
    @pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422", "MONOCHROME2", "PALETTE COLOR", "YBR_RCT", ""])
    @pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
    def test_jpeg_with_jfif_is_ycbcr_for_any_header(self, said: str, subsampling: str) -> None:
        stream = jpeg(COLOR, subsampling=subsampling)
        assert_close(frame(baseline(stream, COLOR, PhotometricInterpretation=said)), COLOR, most=8)

    @pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422", "MONOCHROME1"])
    @pytest.mark.parametrize("is_ybr", [True, False])
    def test_jpeg_with_adobe_marker_follows_the_marker(self, said: str, is_ybr: bool) -> None:
        stream = without_app(jpeg(COLOR, subsampling="4:4:4", keep_rgb=not is_ybr))
        stream = stream[:2] + ADOBE + bytes([is_ybr]) + stream[2:]
        assert_close(frame(baseline(stream, COLOR, PhotometricInterpretation=said)), COLOR, most=4)

    def test_a_jpeg_with_components_named_rgb_is_rgb(self) -> None:
        stream = without_app(jpeg(COLOR, keep_rgb=True))
        assert_close(frame(baseline(stream, COLOR, PhotometricInterpretation="YBR_FULL_422")), COLOR)

    def test_a_jpeg_with_less_chroma_is_ycbcr_without_any_marker(self) -> None:
        stream = without_app(jpeg(COLOR, subsampling="4:2:0"))
        assert_close(frame(baseline(stream, COLOR, PhotometricInterpretation="RGB")), COLOR, most=8)

    def test_jpeg_without_marker_is_ycbcr_by_its_gray_pixels(self) -> None:
        slightly_colored = np.dstack([GRAY] * 3)
        slightly_colored[30:40, 30:50, 1] = 0
        stream = without_app(jpeg(slightly_colored, subsampling="4:4:4"))
        assert_close(frame(baseline(stream, COLOR, PhotometricInterpretation="RGB")), slightly_colored)

    def test_gray_with_photometric_of_color_is_gray(self) -> None:
        data = baseline(jpeg(GRAY), GRAY, PhotometricInterpretation="YBR_FULL_422", SamplesPerPixel=3)
        np.testing.assert_array_equal(frame(data), frame(baseline(jpeg(GRAY), GRAY)))

    @pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_RCT", "MONOCHROME2"])
    def test_jpeg_2000_with_transform_is_rgb_for_any_header(self, said: str) -> None:
        stream = saved(Image.fromarray(COLOR), "JPEG2000", no_jp2=True, mct=1)
        data = encapsulated(mr_of(COLOR, PhotometricInterpretation=said), uid.JPEG2000Lossless, [stream])
        np.testing.assert_array_equal(frame(data), COLOR)

    def test_a_jp2_file_is_read_by_its_codestream(self) -> None:
        stream = saved(Image.fromarray(GRAY), "JPEG2000")
        assert stream[4:6] == b"jP"
        np.testing.assert_array_equal(frame(encapsulated(mr_of(GRAY), uid.JPEG2000Lossless, [stream])), GRAY)

    def test_a_jpeg_of_four_components_is_refused(self) -> None:
        stream = saved(Image.fromarray(COLOR).convert("CMYK"), "JPEG")
        rejection = rejected(baseline(stream, COLOR))
        assert rejection.reason is RejectionReason.CORRUPT and "4 samples per pixel" in rejection.detail

    @pytest.mark.parametrize("said", ["YBR_FULL_422", "YBR_FULL", "RGB"])
    @pytest.mark.parametrize("held", ["RGB", "YCbCr"])
    def test_uncompressed_color_is_known_by_its_gray_pixels(self, said: str, held: str) -> None:
        scan = np.dstack([GRAY] * 3)
        scan[30:50, 30:50] = (200, 40, 90)
        samples = scan if held == "RGB" else np.asarray(Image.fromarray(scan).convert("YCbCr"))
        assert_close(frame(mr_of(samples, PhotometricInterpretation=said)), scan, most=1)

    def test_uncompressed_color_without_gray_follows_the_header(self) -> None:
        noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        np.testing.assert_array_equal(frame(mr_of(noise, PhotometricInterpretation="YBR_FULL_422")), noise)
        as_ybr = mr_of(noise, PhotometricInterpretation="YBR_FULL")
        expected = np.asarray(Image.fromarray(noise, mode="YCbCr").convert("RGB"))
        assert_close(frame(as_ybr), expected, most=1)


class TestLosslessJpeg:
    @pytest.mark.parametrize("predictor", range(1, 8))
    @pytest.mark.parametrize("bits", [8, 10, 12, 16])
    def test_every_predictor_and_depth_is_exact(self, predictor: int, bits: int) -> None:
        values = (GRAY.astype(np.uint16) << (bits - 8)).astype(np.uint8 if bits == 8 else np.uint16)
        values[50:] ^= 1
        stream = bytes(jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits))
        window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
        tags = {**window, "BitsStored": bits, "HighBit": bits - 1}
        syntax = uid.JPEGLosslessSV1 if predictor == 1 else uid.JPEGLossless
        np.testing.assert_array_equal(
            frame(encapsulated(mr_of(values, **tags), syntax, [stream])), frame(mr_of(values, **tags))
        )

    def test_noise_of_sixteen_bits_is_exact(self) -> None:
        noise = np.random.default_rng(2).integers(0, 65_536, (64, 96), dtype=np.uint16)
        data = encapsulated(mr_of(noise), uid.JPEGLosslessSV1, [codestream(noise, uid.JPEGLosslessSV1)])
        np.testing.assert_array_equal(frame(data), frame(mr_of(noise)))

    @pytest.mark.parametrize("said", ["RGB", "MONOCHROME2"])
    def test_color_is_exact(self, said: str) -> None:
        stream = codestream(COLOR, uid.JPEGLosslessSV1)
        data = encapsulated(mr_of(COLOR, PhotometricInterpretation=said), uid.JPEGLosslessSV1, [stream])
        np.testing.assert_array_equal(frame(data), COLOR)

    def test_file_of_another_encoder_equals_uncompressed_file(self) -> None:
        written_by_gdcm = frame(changed("SC_rgb_jpeg_gdcm.dcm", Modality="MR"))
        np.testing.assert_array_equal(written_by_gdcm, frame(changed("SC_rgb_rle.dcm", Modality="MR")))

    @pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
    def test_twelve_bits_equal_their_jpeg_2000_version(self, name: str) -> None:
        window = {"WindowCenter": 100, "WindowWidth": 200}
        result, other = (frame(changed(each, Modality="MR", **window)) for each in (name, "JPEG2000.dcm"))
        assert np.corrcoef(result.ravel(), other.ravel())[0, 1] > 0.95

    def test_twelve_bits_are_as_bright_as_meant(self) -> None:
        stream = bytes(jpeg8_encode(DEEP, 98, bitspersample=12))
        tags = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
        assert_close(frame(encapsulated(mr_of(DEEP, **tags), uid.JPEGExtended12Bit, [stream])), GRAY, most=1)

    def test_eight_bits_in_the_extended_process_are_read(self) -> None:
        data = encapsulated(mr_of(GRAY), uid.JPEGExtended12Bit, [jpeg(GRAY)])
        np.testing.assert_array_equal(frame(data), frame(baseline(jpeg(GRAY), GRAY)))


class TestBombs:
    @staticmethod
    def enlarged(stream: bytes, marker: bytes) -> bytes:
        at = stream.index(marker)
        return stream[: at + 5] + b"\xff\xdc\xff\xdc" + stream[at + 9 :]

    @pytest.mark.parametrize(
        ("syntax", "marker"), [(uid.JPEGLosslessSV1, b"\xff\xc3"), (uid.JPEGLSLossless, b"\xff\xf7")]
    )
    def test_frame_with_more_pixels_than_the_header_is_refused(self, syntax: str, marker: bytes) -> None:
        data = encapsulated(mr_of(DEEP), syntax, [self.enlarged(codestream(DEEP, syntax), marker)])
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert rejected(data).reason is RejectionReason.TOO_MANY_PIXELS

    @pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\xd0", b"\xff\xd8", b"\xff\x00"])
    def test_a_frame_header_hidden_from_the_check_is_refused(self, marker: bytes) -> None:
        # a decoder skips the marker alone and finds the large frame, a reader of lengths finds the small one
        large = self.enlarged(codestream(DEEP, uid.JPEGLosslessSV1), b"\xff\xc3")
        at = large.index(b"\xff\xc3")
        small = codestream(DEEP, uid.JPEGLosslessSV1)
        hidden = large[:2] + marker + large[at:-2] + small[2:]
        data = encapsulated(mr_of(DEEP), uid.JPEGLosslessSV1, [hidden])
        assert peak_bytes(lambda: decode(data)) < 5_000_000
        assert isinstance(rejected(data).reason, RejectionReason)

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_a_size_that_is_not_the_header_s_is_corrupt(self, syntax: str) -> None:
        data = encapsulated(mr_of(DEEP), syntax, [codestream(DEEP[:64], syntax)])
        assert rejected(data).reason is RejectionReason.CORRUPT

    def test_no_stream_at_all_is_refused(self) -> None:
        for junk in (b"", b"\xff\xd8", b"\xff\x4f\xff\x51", bytes(500), b"\x00\x00\x00\x0cjP  " + bytes(90)):
            data = encapsulated(mr_of(DEEP), uid.JPEG2000Lossless, [junk + b"\xff\xd9"])
            assert rejected(data).reason is RejectionReason.CORRUPT


class TestLossyJpeg:
    @pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
    def test_damage_is_found_as_in_a_jpeg_file(self, syntax: str, share: float) -> None:
        whole = jpeg(GRAY)
        at = int(len(whole) * share)
        damaged = whole[:at] + bytes(100) + whole[at + 100 :]
        refusal = rejected(damaged)
        assert refusal.reason is RejectionReason.CORRUPT
        assert rejected(encapsulated(mr_of(GRAY), syntax, [damaged])) == refusal
        frames = [whole, damaged]
        assert rejected(encapsulated(mr_of(GRAY), syntax, frames, NumberOfFrames=2)) == refusal

    def test_too_many_scans_are_refused_without_decoding(self) -> None:
        whole = jpeg(GRAY, progressive=True)
        scans = read_structure(whole).scans
        last = whole[scans[-1].start - 2 : scans[-1].scan_end]
        data = baseline(whole[: scans[-1].scan_end] + last * 200 + b"\xff\xd9", GRAY)
        refusal = rejected(data)
        assert refusal.reason is RejectionReason.CORRUPT and "scans" in refusal.detail

    @pytest.mark.parametrize(
        "options", [{}, {"progressive": True}, {"subsampling": "4:2:2"}, {"subsampling": "4:2:0"}], ids=str
    )
    def test_color_is_decoded_as_pillow_does(self, options: dict[str, Any]) -> None:
        stream = jpeg(COLOR, **options)
        image = Image.open(io.BytesIO(stream))
        image.draft("YCbCr", image.size)
        ybr = np.frombuffer(image.tobytes(), np.uint8).reshape(COLOR.shape)
        np.testing.assert_array_equal(
            frame(baseline(stream, COLOR)), frame(mr_of(ybr, PhotometricInterpretation="YBR_FULL"))
        )

    def test_gray_is_decoded_as_pillow_does(self) -> None:
        stream = jpeg(GRAY)
        np.testing.assert_array_equal(frame(baseline(stream, GRAY)), np.asarray(Image.open(io.BytesIO(stream))))
