"""Every kind of file a night can bring: a frame, or one reason code, and never an exception."""

from __future__ import annotations

import io
import random
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file

from braintumor.imaging.frames import Decoded, Limits, decode
from braintumor.imaging.phantom import draw
from braintumor.imaging.rejection import Rejection, RejectionReason
from braintumor.labels import TumorClass

GREY = draw(TumorClass.GLIOMA, seed=1, size=96).pixels


def encoded(pixels: NDArray[Any] = GREY, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def shipped(name: str) -> bytes:
    """One of the files that pydicom brings along."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    with open(path, "rb") as stream:  # noqa: PTH123
        return stream.read()


def mr(change: Callable[[pydicom.Dataset], None] = lambda _: None, name: str = "MR_small.dcm") -> bytes:
    """The shipped MR slice, changed."""
    dataset = pydicom.dcmread(io.BytesIO(shipped(name)))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def frame(data: bytes) -> NDArray[np.uint8]:
    decoded = decode(data)
    assert isinstance(decoded, Decoded), decoded
    assert len(decoded.frames) == 1
    return decoded.frames[0].pixels


def reason(data: bytes, limits: Limits | None = None) -> RejectionReason:
    rejected = decode(data, limits=limits)
    assert isinstance(rejected, Rejection)
    assert rejected.detail
    return rejected.reason


def setting(**tags: Any) -> Callable[[pydicom.Dataset], None]:
    def change(dataset: pydicom.Dataset) -> None:
        for name, value in tags.items():
            setattr(dataset, name, value)

    return change


class TestRaster:
    def test_a_grey_png_comes_back_bit_for_bit(self) -> None:
        np.testing.assert_array_equal(frame(encoded()), GREY)

    def test_a_jpeg_comes_back_nearly(self) -> None:
        assert np.abs(frame(encoded(kind="JPEG", quality=95)).astype(int) - GREY).mean() < 2

    def test_sixteen_bits_are_scaled_by_their_own_range(self) -> None:
        deep = GREY.astype(np.uint16) * 100 + 1000
        spread = (GREY.astype(float) - GREY.min()) / (int(GREY.max()) - int(GREY.min())) * 255
        assert np.abs(frame(encoded(deep)) - spread).max() <= 1

    def test_transparency_becomes_black_and_a_grey_palette_grey(self) -> None:
        rgba = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])
        rgba[:48, :, 3] = 255
        pixels = frame(encoded(rgba))
        np.testing.assert_array_equal(pixels[:48], GREY[:48])
        assert pixels[48:].max() == 0
        buffer = io.BytesIO()
        Image.fromarray(GREY).convert("P").save(buffer, "PNG")
        np.testing.assert_array_equal(frame(buffer.getvalue()), GREY)

    def test_a_cmyk_jpeg_is_read_as_what_it_shows(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(GREY).convert("CMYK").save(buffer, "JPEG")
        assert np.abs(frame(buffer.getvalue()).astype(int) - GREY).mean() < 10

    def test_the_cameras_orientation_is_applied(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        turned = frame(encoded(kind="JPEG", quality=95, exif=exif))
        assert turned.shape == GREY.shape[::-1]
        assert np.abs(np.rot90(turned).astype(int) - GREY).mean() < 2

    def test_the_same_grey_pixels_are_known_in_colour_too(self) -> None:
        grey, colour = decode(encoded()), decode(encoded(np.repeat(GREY[..., None], 3, axis=2)))
        assert isinstance(grey, Decoded) and isinstance(colour, Decoded)
        assert grey.pixel_sha256 == colour.pixel_sha256

    def test_a_huge_png_is_refused_by_its_header(self) -> None:
        header = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
        data = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        data += (8).to_bytes(4, "big") + b"IDAT" + b"x" * 8 + b"\0\0\0\0"
        started = time.monotonic()
        assert reason(data) is RejectionReason.TOO_MANY_PIXELS
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_half_a_file_is_truncated(self, kind: str) -> None:
        data = encoded(kind=kind)
        assert reason(data[: len(data) // 2]) is RejectionReason.TRUNCATED

    def test_a_thumbnail_and_a_blank_are_refused(self) -> None:
        assert reason(encoded(GREY[:16, :16])) is RejectionReason.TOO_SMALL
        assert reason(encoded(np.full((64, 64), 7, np.uint8))) is RejectionReason.BLANK_IMAGE


class TestOther:
    def test_no_bytes_and_too_many_bytes(self) -> None:
        assert reason(b"") is RejectionReason.EMPTY_FILE
        assert reason(encoded(), Limits(max_bytes=100)) is RejectionReason.TOO_MANY_BYTES

    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (b"GIF89a" + b"\0" * 100, "gif"),
            (b"II*\0" + b"\0" * 100, "tiff"),
            (b"\x1f\x8b" + b"\0" * 100, "gzip"),
            (b"\0" * 344 + b"n+1\0", "nifti"),
            (b"%PDF-1.7", "pdf"),
            (b"hello, I am a text\n" * 50, "no known format"),
        ],
    )
    def test_what_is_not_scored_is_said_by_its_content(self, data: bytes, name: str) -> None:
        rejected = decode(data)
        assert isinstance(rejected, Rejection)
        assert rejected.reason is RejectionReason.UNSUPPORTED_FORMAT and name in rejected.detail


class TestDicom:
    def test_an_mr_slice_is_read_with_its_identity(self) -> None:
        decoded = decode(shipped("MR_small.dcm"))
        assert isinstance(decoded, Decoded) and decoded.dicom is not None
        assert decoded.format == "dicom" and decoded.frames[0].pixels.shape == (64, 64)
        assert decoded.dicom.patient_id == "4MR1"

    @pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm"])
    def test_compressed_and_big_endian_files_show_the_same(self, name: str) -> None:
        np.testing.assert_array_equal(frame(shipped(name)), frame(shipped("MR_small.dcm")))

    def test_a_file_without_preamble_is_recognised(self) -> None:
        np.testing.assert_array_equal(frame(shipped("MR_small.dcm")[132:]), frame(shipped("MR_small.dcm")))

    def test_monochrome1_is_the_inverse(self) -> None:
        inverse = frame(mr(setting(PhotometricInterpretation="MONOCHROME1")))
        assert np.abs(inverse.astype(int) + frame(mr()) - 255).max() <= 1

    def test_the_window_decides_what_is_shown(self) -> None:
        narrow = frame(mr(setting(WindowCenter=600, WindowWidth=100)))
        wide = frame(mr(setting(WindowCenter=600, WindowWidth=4000)))
        assert (np.isin(narrow, (0, 255))).mean() > (np.isin(wide, (0, 255))).mean()

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (lambda: shipped("CT_small.dcm"), RejectionReason.NOT_MR),
            (lambda: mr(setting(NumberOfFrames=2)), RejectionReason.MULTI_FRAME),
            (lambda: mr(setting(BurnedInAnnotation="YES")), RejectionReason.BURNED_IN_ANNOTATION),
            (lambda: mr(lambda dataset: dataset.__delitem__("PixelData")), RejectionReason.NO_PIXELS),
            (lambda: mr(setting(PixelData=b"\0" * 100)), RejectionReason.TRUNCATED),
            (lambda: mr(setting(Rows=60_000, Columns=60_000)), RejectionReason.TOO_MANY_PIXELS),
        ],
        ids=lambda value: value.value if isinstance(value, RejectionReason) else "",
    )
    def test_what_cannot_be_scored_gets_its_reason(self, data: Callable[[], bytes], expected: RejectionReason) -> None:
        assert reason(data()) is expected

    def test_a_deflated_bomb_is_refused_without_inflating_it(self) -> None:
        import tracemalloc

        dataset = pydicom.dcmread(io.BytesIO(shipped("MR_small.dcm")))
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.PixelData = b"\0" * 300_000_000
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        del dataset
        assert len(buffer.getvalue()) < 1_000_000
        tracemalloc.start()
        refused = reason(buffer.getvalue())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert refused is RejectionReason.TOO_MANY_BYTES
        assert peak < 150_000_000

    def test_identity_shows_in_no_detail_and_no_repr(self) -> None:
        named = setting(PatientName="Jane^Doe", PatientID="DOE-1970", StudyInstanceUID="1.2.3.4")
        decoded = decode(mr(named))
        assert isinstance(decoded, Decoded)
        odd = pydicom.dcmread(io.BytesIO(mr(named)))
        odd.Modality = "JD"
        buffer = io.BytesIO()
        odd.save_as(buffer)
        shown = [repr(decoded), repr(decoded.dicom), str(decode(buffer.getvalue())), str(decode(mr(named)[:700]))]
        for secret in ("Doe", "DOE", "1.2.3.4", "JD"):
            assert not any(secret in text for text in shown)


@pytest.mark.parametrize("name", ["jpeg", "png", "dicom"])
def test_damaged_files_never_raise_and_never_warn(name: str) -> None:
    whole = {"jpeg": encoded(kind="JPEG"), "png": encoded(), "dicom": shipped("MR_small.dcm")}[name]
    rng = random.Random(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            damaged = bytearray(whole)
            for _ in range(rng.randrange(1, 12)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            if rng.random() < 0.3:
                del damaged[rng.randrange(1, len(damaged)) :]
            assert isinstance(decode(bytes(damaged)), Decoded | Rejection)
