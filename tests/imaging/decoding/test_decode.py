"""Test that `decode` returns frames or one reason for any file, in any thread, without output."""

from __future__ import annotations

import io
import logging
import random
import re
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from tests.decode_results import frame, rejected
from tests.dicom_files import shipped
from tests.images import jpeg_of, png_chunk, png_of, saved

ROWS, COLUMNS = 60, 80
_SMOOTH = np.add.outer(np.linspace(0, 120, ROWS), np.linspace(0, 135, COLUMNS))
GRAY = np.rint(_SMOOTH).astype(np.uint8)
RGB = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])


def png_of_size(width: int, height: int) -> bytes:
    """Return a black PNG of one bit per pixel. Beyond 8000 rows or columns, it has only a part of its data."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((min(width, 8_000) // 8 + 1) * min(height, 8_000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).max())


class TestPng:
    def test_gray_and_color_come_back_bit_for_bit(self) -> None:
        np.testing.assert_array_equal(frame(png_of(GRAY)), GRAY)
        np.testing.assert_array_equal(frame(png_of(RGB)), RGB)

    def test_sixteen_bits_widened_from_eight_come_back_exactly(self) -> None:
        np.testing.assert_array_equal(frame(png_of(GRAY.astype(np.uint16) * 257)), GRAY)

    def test_twelve_bits_in_sixteen_fill_the_gray_range(self) -> None:
        shown = frame(png_of(GRAY.astype(np.uint16) * 7 + 1000))
        assert shown.min() == 0 and shown.max() == 255
        assert np.corrcoef(shown.ravel(), GRAY.ravel())[0, 1] > 0.999

    def test_a_palette_shows_its_colors(self) -> None:
        few = (RGB // 86 * 86).astype(np.uint8)
        paletted = Image.fromarray(few).quantize(64, dither=Image.Dither.NONE)
        assert paletted.mode == "P"
        assert difference(frame(saved(paletted)), np.asarray(paletted.convert("RGB"))) == 0

    def test_a_gray_palette_is_gray(self) -> None:
        np.testing.assert_array_equal(frame(saved(Image.fromarray(GRAY).convert("P"))), GRAY)

    def test_one_bit_is_black_and_white(self) -> None:
        mask = GRAY > 100
        np.testing.assert_array_equal(frame(saved(Image.fromarray(mask))), mask * np.uint8(255))

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparent_area_is_black(self, mode: str) -> None:
        alpha = np.where(np.arange(COLUMNS) < 40, 255, 0).astype(np.uint8)
        image = Image.fromarray(GRAY).convert(mode)
        image.putalpha(Image.fromarray(np.tile(alpha, (ROWS, 1))))
        shown = frame(saved(image))
        np.testing.assert_array_equal(shown[:, :40], GRAY[:, :40])
        assert not shown[:, 40:].any()

    def test_an_animation_is_refused_as_several_frames(self) -> None:
        frames = [Image.fromarray(GRAY), Image.fromarray(GRAY[::-1])]
        data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
        assert rejected(data).reason is RejectionReason.MULTI_FRAME

    def test_a_wrong_checksum_is_corrupt(self) -> None:
        data = bytearray(png_of(GRAY))
        data[data.index(b"IDAT") + 10] ^= 0xFF
        assert rejected(bytes(data)).reason is RejectionReason.CORRUPT


class TestJpeg:
    def test_gray_comes_back_nearly(self) -> None:
        assert difference(frame(jpeg_of(GRAY)), GRAY) <= 3

    def test_cmyk_is_converted_to_similar_rgb(self) -> None:
        data = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "CMYK"
        assert frame(data).shape == RGB.shape
        assert np.abs(frame(data).astype(int) - RGB).mean() < 8

    @pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
    def test_exif_orientation_turns_the_image_upright(self, orientation: int, turns: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert difference(frame(jpeg_of(GRAY, exif=exif)), np.rot90(GRAY, turns)) <= 3

    def test_image_with_unreadable_exif_is_decoded(self) -> None:
        for exif in (
            b"Exif\0\0garbage, no TIFF header",
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0MM\0*\0\0\0\x08\0\x40",
        ):
            assert difference(frame(jpeg_of(GRAY, exif=exif)), GRAY) <= 3

    def test_a_cut_file_with_a_whole_thumbnail_is_truncated(self) -> None:
        whole = jpeg_of(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8))
        thumbnail = jpeg_of(GRAY[:40, :40])
        data = whole[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + whole[2:]
        assert rejected(data[: len(data) * 2 // 3]).reason is RejectionReason.TRUNCATED


class TestSameImage:
    def test_gray_and_equal_rgb_share_the_pixel_hash(self) -> None:
        gray, rgb = decode(png_of(GRAY)), decode(png_of(np.dstack([GRAY] * 3)))
        assert isinstance(gray, Decoded) and isinstance(rgb, Decoded)
        assert gray.pixel_sha256 == rgb.pixel_sha256
        assert gray.frames[0].pixels.shape == rgb.frames[0].pixels.shape == (ROWS, COLUMNS)

    def test_changed_pixel_or_shape_changes_the_pixel_hash(self) -> None:
        other = GRAY.copy()
        other[5, 5] += 1
        decoded = [decode(png_of(pixels)) for pixels in (GRAY, other, GRAY.reshape(COLUMNS, ROWS))]
        assert len({each.pixel_sha256 for each in decoded if isinstance(each, Decoded)}) == 3

    def test_file_name_does_not_decide_the_format(self) -> None:
        rejection = rejected(b"Findings: none.\nA text that somebody named scan.jpg\n" * 40)
        assert rejection.reason is RejectionReason.UNSUPPORTED_FORMAT
        assert "Findings" not in rejection.detail


class TestReasons:
    @pytest.mark.parametrize(
        ("data", "name"),
        [
            (saved(Image.fromarray(GRAY), "GIF"), "gif"),
            (saved(Image.fromarray(GRAY), "WEBP"), "webp"),
            (saved(Image.fromarray(GRAY), "BMP"), "bmp"),
            (saved(Image.fromarray(GRAY), "PDF"), "pdf"),
            (zlib.compress(bytes(500), wbits=31), "gzip"),
        ],
        ids=["gif", "webp", "bmp", "pdf", "gzip"],
    )
    def test_other_formats_are_refused_by_name(self, data: bytes, name: str) -> None:
        rejection = rejected(data)
        assert rejection.reason is RejectionReason.UNSUPPORTED_FORMAT
        assert f"content is {name}" in rejection.detail

    def test_an_empty_file_is_refused_as_empty(self) -> None:
        assert rejected(b"").reason is RejectionReason.EMPTY_FILE

    def test_more_bytes_than_the_limit(self) -> None:
        data = png_of(GRAY)
        assert rejected(data, Limits(max_bytes=len(data) - 1)).reason is RejectionReason.TOO_MANY_BYTES
        assert isinstance(decode(data, limits=Limits(max_bytes=len(data))), Decoded)

    def test_more_pixels_than_the_limit_and_exactly_as_many(self) -> None:
        limit = ROWS * COLUMNS
        assert rejected(png_of(GRAY), Limits(max_pixels=limit - 1)).reason is RejectionReason.TOO_MANY_PIXELS
        assert isinstance(decode(png_of(GRAY), limits=Limits(max_pixels=limit)), Decoded)

    def test_a_side_below_the_limit_and_exactly_at_it(self) -> None:
        assert rejected(png_of(GRAY[:31])).reason is RejectionReason.TOO_SMALL
        assert isinstance(decode(png_of(GRAY[:32])), Decoded)

    @pytest.mark.parametrize("pixels", [GRAY * 0, GRAY * 0 + 255, RGB * 0 + np.uint8([9, 5, 3])])
    def test_one_color_everywhere_is_blank(self, pixels: NDArray[np.uint8]) -> None:
        assert rejected(png_of(pixels)).reason is RejectionReason.BLANK_IMAGE

    @pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
    @pytest.mark.parametrize("data", [png_of(RGB), jpeg_of(RGB)], ids=["png", "jpeg"])
    def test_a_cut_file_is_truncated(self, data: bytes, share: float) -> None:
        assert rejected(data[: int(len(data) * share)]).reason is RejectionReason.TRUNCATED

    def test_garbage_after_a_signature_is_corrupt(self) -> None:
        assert (
            rejected(png_of(GRAY)[:33] + png_chunk(b"IDAT", b"no zlib") + png_chunk(b"IEND", b"")).reason
            is RejectionReason.CORRUPT
        )


class TestBombs:
    @pytest.mark.parametrize("side", [8_000, 10_000, 20_000, 60_000, 2**31 - 1])
    def test_a_huge_png_is_refused_by_its_header(self, side: int) -> None:
        decode(png_of(GRAY))  # Pillow loads its plugins at the first call
        data = png_of_size(side, side)
        tracemalloc.start()
        rejection = rejected(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rejection.reason is RejectionReason.TOO_MANY_PIXELS
        assert peak < 1_000_000

    def test_compressed_text_bomb_needs_little_memory(self) -> None:
        text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9))
        data = png_of(GRAY)
        tracemalloc.start()
        result = decode(data[:33] + text + data[33:])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(result, Decoded | Rejection)
        assert peak < 20_000_000


_SOURCES = {
    "jpeg": jpeg_of(RGB),
    "jpeg with exif": jpeg_of(GRAY, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "png": png_of(RGB),
    "png of 16 bits": png_of(GRAY.astype(np.uint16) * 99),
    "dicom": shipped("MR_small.dcm"),
    "dicom rle": shipped("MR_small_RLE.dcm"),
    "dicom jpeg 2000": shipped("MR_small_jp2klossless.dcm"),
    "dicom implicit": shipped("MR_small_implicit.dcm"),
    "dicom big endian": shipped("MR_small_bigendian.dcm"),
}


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Return the file with changed bytes, mostly in the header, and sometimes cut, shortened or repeated parts."""
    data = bytearray(whole)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 1500)
    for _ in range(rng.randrange(1, 16)):
        data[rng.randrange(reach)] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
    start = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            del data[start:]
        case 1:
            del data[start : start + rng.randrange(1, 64)]
        case 2:
            data[start:start] = data[start : start + 64]
    return bytes(data)


@pytest.fixture
def noise(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail a test that warns, logs at any level, or writes to stdout or stderr."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not caplog.get_records("call")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("noise")
class TestRobustness:
    @pytest.mark.parametrize("name", _SOURCES)
    def test_damaged_bytes_never_raise_warn_or_print(self, name: str) -> None:
        rng = random.Random(f"seed 1 {name}")
        for _ in range(40):
            result = decode(damaged(_SOURCES[name], rng))
            assert isinstance(result, Decoded | Rejection)

    @pytest.mark.parametrize("name", _SOURCES)
    def test_whole_files_decode_without_output(self, name: str) -> None:
        assert isinstance(decode(_SOURCES[name]), Decoded)

    def test_names_in_png_and_exif_text_are_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        exif = Image.Exif()
        exif[0x013B] = "Jane^Doe"  # Artist. Pillow logs tags and chunks at level DEBUG
        files = [jpeg_of(GRAY, exif=exif), png_of(GRAY, exif=exif)]
        caplog.clear()  # removes logs of saving
        assert all(isinstance(decode(data), Decoded) for data in files)


def test_warning_filter_covers_every_decoder_logger(caplog: pytest.LogCaptureFixture) -> None:
    from braintumor.imaging.decoding.warning_filter import WARNING_FILTER

    for data in _SOURCES.values():
        decode(data)
    # without encoders, which another test may have loaded, and a format that is never opened
    own = re.compile(r"(?!.*(encode|Pcx))(pydicom|pylibjpeg|openjpeg|rle|PIL)(\.|$)")
    names = [name for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)]
    caplog.set_level(logging.DEBUG)
    with WARNING_FILTER:
        for name in filter(own.match, names):
            logging.getLogger(name).critical("Jane^Doe")
    assert not {record.name for record in caplog.records}


class TestThreads:
    def test_threads_give_the_same_results_as_one_thread(self) -> None:
        files = [*_SOURCES.values(), b"text", *(damaged(data, random.Random(3)) for data in _SOURCES.values())] * 3

        def summary(data: bytes) -> str:
            result = decode(data)
            return result.pixel_sha256 if isinstance(result, Decoded) else f"{result.reason} {result.detail}"

        expected = [summary(data) for data in files]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(summary, files)) == expected

    def test_warning_filters_and_loggers_are_restored(self) -> None:
        before = list(warnings.filters), logging.getLogger("pydicom").level, list(logging.getLogger("pydicom").filters)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(decode, list(_SOURCES.values()) * 4))
        after = list(warnings.filters), logging.getLogger("pydicom").level, list(logging.getLogger("pydicom").filters)
        assert after == before

    def test_filters_set_during_decoding_stay(self) -> None:
        with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
            running = pool.submit(lambda: [decode(data) for data in _SOURCES.values()])
            warnings.filterwarnings("ignore", message="set while decoding")
            running.result()
            assert any(each[1] is not None and "set while" in each[1].pattern for each in warnings.filters)

    def test_warnings_of_other_modules_stay_visible(self) -> None:
        from braintumor.imaging.decoding.warning_filter import WARNING_FILTER

        with pytest.warns(UserWarning, match="shown"), WARNING_FILTER:
            warnings.warn("shown", UserWarning, stacklevel=1)

    def test_pydicom_is_filtered_until_the_last_exit(self, caplog: pytest.LogCaptureFixture) -> None:
        from pydicom.misc import warn_and_log

        from braintumor.imaging.decoding.warning_filter import WARNING_FILTER

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with WARNING_FILTER:
                with WARNING_FILTER:
                    pass
                warn_and_log("Jane^Doe", stacklevel=0)
        assert not caplog.records
        assert pydicom.config.logger.isEnabledFor(logging.WARNING)
