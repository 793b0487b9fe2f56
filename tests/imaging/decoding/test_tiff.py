"""Test TIFF of every kind of number, stacks in one directory, and unsupported kinds."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import decoded, frame, rejected
from tests.images import png_of

GRAY = draw(TumorClass.PITUITARY, seed=6, size=96).pixels
TWELVE_BITS = GRAY.astype(np.uint16) * 16
SHOWN = frame(png_of(TWELVE_BITS)).astype(int)
"""The expected display of every deep file of the image."""
KINDS: dict[str, NDArray[np.generic]] = {
    "int8": (GRAY.astype(int) - 128).astype(np.int8),
    "int16": (GRAY.astype(int) * 16 - 2000).astype(np.int16),
    "int32": (GRAY.astype(int) * 8_000_000 - 10**9).astype(np.int32),
    "uint32": GRAY.astype(np.uint32) * 16_000_000,
    "uint64": GRAY.astype(np.uint64) * 10**15,
    "float16": (GRAY / 8).astype(np.float16),
    "float32": (GRAY / 255).astype(np.float32),
    "float64": GRAY * 1e-9,
}


def tiff(pixels: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **{"photometric": "minisblack"} | options)
    return buffer.getvalue()


class TestKinds:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("name", KINDS)
    def test_every_kind_of_number_is_shown_by_percentiles(self, name: str, compression: str | None, order: str) -> None:
        data = tiff(KINDS[name], compression=compression, byteorder=order)
        np.testing.assert_allclose(frame(data).astype(int), SHOWN, atol=1)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("name", ["int8", "int16", "int32", "float32"])
    def test_a_compression_that_only_libtiff_reads_changes_nothing(self, name: str, order: str) -> None:
        data = tiff(KINDS[name], compression="lzma", byteorder=order)
        np.testing.assert_allclose(frame(data).astype(int), SHOWN, atol=1)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
    @pytest.mark.parametrize("alpha", ["", "unspecified", "unassalpha"])
    def test_color_of_sixteen_bits_is_as_bright_as_gray(self, alpha: str, compression: str | None, order: str) -> None:
        channels = [TWELVE_BITS] * 3 + [np.full_like(TWELVE_BITS, 0xFFFF)] * bool(alpha)
        data = tiff(
            np.dstack(channels),
            photometric="rgb",
            extrasamples=[alpha] if alpha else None,
            compression=compression,
            byteorder=order,
        )
        np.testing.assert_array_equal(frame(data), SHOWN)

    def test_planes_of_color_are_put_together(self) -> None:
        planes = np.stack([TWELVE_BITS, TWELVE_BITS // 2, TWELVE_BITS // 4])
        one = frame(tiff(planes, photometric="rgb", planarconfig="separate"))
        np.testing.assert_array_equal(one, frame(tiff(np.moveaxis(planes, 0, -1), photometric="rgb")))
        assert one.shape == (*GRAY.shape, 3)

    @pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float64])
    def test_transparent_gray_is_black(self, dtype: type[np.generic]) -> None:
        opaque = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
        alpha = np.full(GRAY.shape, opaque, dtype)
        both = np.dstack([TWELVE_BITS.astype(dtype), alpha])
        options = {"extrasamples": ["unassalpha"]}
        np.testing.assert_array_equal(frame(tiff(both, **options)), SHOWN)
        both[:20, :, 1] = 0
        both[..., 0] += both[..., 0].dtype.type(1000)
        assert frame(tiff(both, **options))[:20].max() == 0

    @pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
    def test_gray_with_associated_alpha_is_read_as_stored(self, compression: str | None) -> None:
        alpha = np.full_like(GRAY, 255)
        alpha[:20] = 100
        shown = np.minimum(GRAY, alpha)
        data = tiff(np.dstack([shown, alpha]), extrasamples=["assocalpha"], compression=compression, planarconfig=1)
        np.testing.assert_array_equal(frame(data), shown)

    @pytest.mark.parametrize("name", ["int8", "int16", "float64"])
    def test_white_is_zero_inverts(self, name: str) -> None:
        values = KINDS[name].max() - KINDS[name].astype(float)
        np.testing.assert_allclose(frame(tiff(values, photometric="miniswhite")).astype(int), SHOWN, atol=2)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation_is_brought_upright(self, orientation: int) -> None:
        tag = [(274, "H", 1, orientation, True)]
        deep, usual = (frame(tiff(values, extratags=tag)) for values in (KINDS["float64"], TWELVE_BITS))
        np.testing.assert_allclose(deep.astype(int), usual, atol=1)

    def test_nan_values_are_dark(self) -> None:
        values = GRAY.astype(np.float64)
        values[:10] = np.nan
        assert frame(tiff(values))[:10].max() == 0

    @pytest.mark.parametrize("name", ["int16", "float32"])
    def test_strips_without_their_sizes_are_read(self, name: str) -> None:
        data = with_tag(tiff(KINDS[name], metadata=None), 279, 0)
        np.testing.assert_allclose(frame(data).astype(int), SHOWN, atol=1)

    def test_tiles_are_put_together(self) -> None:
        np.testing.assert_allclose(frame(tiff(KINDS["float64"], tile=(32, 48))).astype(int), SHOWN, atol=1)


class TestStacks:
    VOLUME = np.stack([TWELVE_BITS // divisor for divisor in (2, 1, 4)])

    def test_pages_of_sixteen_bits_share_one_range(self) -> None:
        result = decoded(tiff(self.VOLUME))
        assert result.frame_count == 3
        bright = (result.frames[1].pixels > 100) & (result.frames[1].pixels < 255)
        first, second, third = (each.pixels[bright].astype(int) for each in result.frames)
        np.testing.assert_allclose(first, second / 2, atol=3)
        np.testing.assert_allclose(third, second / 4, atol=3)

    def test_a_page_of_small_values_stays_dark(self) -> None:
        dark = tiff(np.stack([TWELVE_BITS, GRAY.astype(np.uint16)]))
        assert [each.index for each in decoded(dark).frames] == [0]

    def test_eight_bits_widened_to_sixteen_come_back_exactly(self) -> None:
        pages = np.stack([GRAY, GRAY // 2])
        for page, shown in zip(pages, decoded(tiff(pages.astype(np.uint16) * 257)).frames, strict=True):
            np.testing.assert_array_equal(shown.pixels, page)

    @pytest.mark.parametrize("options", [{"imagej": True}, {}], ids=["ImageJ", "tifffile"])
    @pytest.mark.parametrize("pages", [VOLUME, np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]])], ids=["16 bits", "8 bits"])
    def test_one_directory_for_all_pages_is_read_as_a_stack(
        self, pages: NDArray[np.generic], options: dict[str, bool]
    ) -> None:
        one, usual = decoded(tiff(pages, truncate=True, **options)), decoded(tiff(pages))
        assert one.frame_count == 3 and [each.index for each in one.frames] == [0, 1, 2]
        assert one.pixel_sha256 == usual.pixel_sha256

    def test_a_cut_stack_in_one_directory_is_truncated(self) -> None:
        data = tiff(self.VOLUME, imagej=True, truncate=True)
        assert rejected(data[: -self.VOLUME[0].nbytes // 2]).reason is RejectionReason.TRUNCATED

    def test_a_page_taken_out_of_a_stack_is_read_alone(self) -> None:
        data = tiff(self.VOLUME, imagej=True, truncate=True)
        np.testing.assert_array_equal(frame(data[: -2 * self.VOLUME[0].nbytes]), frame(tiff(self.VOLUME[0])))

    def test_a_stack_in_one_directory_obeys_the_limits(self) -> None:
        data = tiff(self.VOLUME, imagej=True, truncate=True)
        assert rejected(data, Limits(max_frames=2)).reason is RejectionReason.TOO_MANY_FRAMES
        assert rejected(data, Limits(max_pixels=2 * GRAY.size)).reason is RejectionReason.TOO_MANY_PIXELS

    @pytest.mark.parametrize("kind", [1, 4], ids=["thumbnail", "transparency mask"])
    def test_thumbnails_and_masks_are_not_frames(self, kind: int) -> None:
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as writer:
            writer.write(GRAY)
            writer.write(GRAY > 20, subfiletype=kind, photometric=4 if kind == 4 else None)
        np.testing.assert_array_equal(frame(buffer.getvalue()), GRAY)

    def test_a_chain_of_pages_that_returns_to_the_first_ends_there(self) -> None:
        data = bytearray(tiff(GRAY, metadata=None))
        first = int.from_bytes(data[4:8], "little")
        count = int.from_bytes(data[first : first + 2], "little")
        struct.pack_into("<I", data, first + 2 + 12 * count, first)
        np.testing.assert_array_equal(frame(bytes(data)), GRAY)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_a_cut_stack_is_truncated(self, share: float) -> None:
        data = tiff(self.VOLUME)
        assert rejected(data[: int(len(data) * share)]).reason is RejectionReason.TRUNCATED

    @pytest.mark.parametrize("kind", [2, 7], ids=["text", "bytes"])
    def test_a_size_that_is_no_number_is_corrupt(self, kind: int) -> None:
        data = bytearray(tiff(GRAY))
        at = int.from_bytes(data[4:8], "little") + 2
        while data[at : at + 2] != struct.pack("<H", 256):
            at += 12
        struct.pack_into("<H", data, at + 2, kind)
        assert rejected(bytes(data)).reason is RejectionReason.CORRUPT


class TestDamage:
    @pytest.mark.parametrize("name", ["uint8", "bool", "uint16", "color", "tiles", "float64"])
    def test_zeros_in_deflated_pixels_are_corrupt(self, name: str) -> None:
        pixels, options = {
            "uint8": (GRAY, {}),
            "bool": (GRAY > 40, {}),
            "uint16": (TWELVE_BITS, {"predictor": 2}),
            "color": (np.dstack([GRAY, GRAY // 2, GRAY]), {"photometric": "rgb"}),
            "tiles": (GRAY, {"tile": (32, 48)}),
            "float64": (KINDS["float64"], {}),
        }[name]
        data = tiff(pixels, compression="zlib", **options)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            start, end = page.dataoffsets[0], page.dataoffsets[-1] + page.databytecounts[-1]
        assert decoded(data).frames
        for at in np.linspace(start, end - 20, 20, dtype=int):
            damaged = data[:at] + bytes(20) + data[at + 20 :]
            assert rejected(damaged).reason is RejectionReason.CORRUPT

    def test_deflated_pixels_without_their_checksum_are_corrupt(self) -> None:
        data = tiff(GRAY, compression="zlib", metadata=None)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            size = file.pages.first.databytecounts[0]
        refusal = rejected(with_tag(data, 279, size - 4))
        assert refusal.reason is RejectionReason.CORRUPT and "no end" in refusal.detail

    @pytest.mark.parametrize("name", ["uint16", "float64"])
    def test_deflated_bits_in_reverse_order_are_read(self, name: str) -> None:
        values = TWELVE_BITS if name == "uint16" else KINDS[name]
        data = bytearray(tiff(values, compression="zlib", extratags=[(65000, "H", 1, 2, True)], metadata=None))
        struct.pack_into("<H", data, data.index(struct.pack("<HHI", 65000, 3, 1)), 266)
        with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
            page = file.pages.first
            (start,), (size,) = page.dataoffsets, page.databytecounts
        strip = np.frombuffer(data, np.uint8, size, start)
        data[start : start + size] = np.packbits(np.unpackbits(strip), bitorder="little").tobytes()
        np.testing.assert_allclose(frame(bytes(data)).astype(int), SHOWN, atol=1)


class TestNamed:
    @pytest.mark.parametrize(
        ("number", "name"),
        [(50001, "WEBP"), (34712, "JPEG2000"), (50002, "JPEGXL"), (34887, "LERC"), (60123, "unknown")],
    )
    def test_a_compression_without_decoder_is_named(self, number: int, name: str) -> None:
        refusal = rejected(with_tag(tiff(GRAY), 259, number))
        assert refusal.reason is RejectionReason.UNSUPPORTED_FORMAT and name in refusal.detail

    @pytest.mark.parametrize(
        "values", [GRAY.astype(np.complex64), np.dstack([TWELVE_BITS] * 5)], ids=["complex", "five channels"]
    )
    def test_unsupported_pages_are_named(self, values: NDArray[np.generic]) -> None:
        refusal = rejected(tiff(values, planarconfig="contig"))
        assert refusal.reason is RejectionReason.UNSUPPORTED_FORMAT and str(values.dtype) in refusal.detail

    def test_nothing_of_a_description_is_repeated(self, caplog: pytest.LogCaptureFixture) -> None:
        data = tiff(GRAY.astype(np.complex64), description="Jane Doe")
        assert "Jane" not in repr(rejected(data)) and "Jane" not in repr(rejected(data[:200])) + caplog.text

    def test_a_strip_that_inflates_too_far_is_refused(self) -> None:
        bomb = tiff(np.zeros((4000, 1000)), compression="zlib")
        refusal = rejected(bomb, Limits(max_volume_bytes=10_000_000))
        assert refusal.reason is RejectionReason.TOO_MANY_BYTES

    def test_a_strip_that_inflates_to_too_little_is_truncated(self) -> None:
        data = tiff(GRAY.astype(np.float64), compression="zlib")
        assert rejected(with_tag(data, 257, GRAY.shape[0] * 2)).reason is RejectionReason.TRUNCATED


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian file of one page with another value of a short or long tag."""
    changed = bytearray(data)
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    for at in range(first + 2, first + 2 + 12 * count, 12):
        if int.from_bytes(data[at : at + 2], "little") == tag:
            struct.pack_into("<I", changed, at + 8, value)
    return bytes(changed)
