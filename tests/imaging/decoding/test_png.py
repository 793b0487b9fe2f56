"""Test PNG of 16 bits in color, and damaged or large chunks outside the image."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.images import png_chunk, png_of, saved

GRAY = draw(TumorClass.GLIOMA, seed=4, size=96).pixels
TWELVE_BITS = GRAY.astype(np.uint16) * 16 + 7
OPAQUE = np.full_like(TWELVE_BITS, 0xFFFF)
COLOR_TYPES = {2: 4, 3: 2, 4: 6}
"""PNG color types by number of samples: gray and alpha, RGB, RGB and alpha."""


def png16(samples: NDArray[np.uint16], *extra: bytes) -> bytes:
    """Return samples (H, W, 2 to 4) as a PNG whose rows use several filters."""
    height, width, count = samples.shape
    rows = samples.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    left = np.pad(rows, ((0, 0), (2 * count, 0)))[:, : rows.shape[1]]
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = [rows, rows - left, rows - above, rows - (left + above) // 2]
    lines = [bytes([at % 4]) + (filtered[at % 4][at] % 256).astype(np.uint8).tobytes() for at in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[count], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(extra)
        + png_chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + png_chunk(b"IEND", b"")
    )


def with_chunk(data: bytes, added: bytes) -> bytes:
    """Return the file with one more chunk before its pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + added + data[at:]


class TestSixteenBits:
    @pytest.mark.parametrize(
        "samples",
        [np.dstack([TWELVE_BITS] * 3), np.dstack([*[TWELVE_BITS] * 3, OPAQUE]), np.dstack([TWELVE_BITS, OPAQUE])],
        ids=["RGB", "RGBA", "gray and alpha"],
    )
    def test_equal_channels_equal_the_gray_image(self, samples: NDArray[np.uint16]) -> None:
        np.testing.assert_array_equal(frame(png16(samples)), frame(png_of(TWELVE_BITS)))

    def test_colors_keep_their_proportions(self) -> None:
        samples = np.dstack([TWELVE_BITS, TWELVE_BITS // 2, TWELVE_BITS // 4])
        shown = frame(png16(samples)).astype(int)
        bright = (shown[..., 0] > 100) & (shown[..., 0] < 255)
        np.testing.assert_allclose(shown[..., 1][bright], shown[..., 0][bright] / 2, atol=2)
        assert shown[..., 0].max() == 255

    def test_eight_bits_widened_to_sixteen_come_back_exactly(self) -> None:
        color = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
        np.testing.assert_array_equal(frame(png16(color.astype(np.uint16) * 257)), color)

    def test_transparent_pixels_are_black(self) -> None:
        alpha = OPAQUE.copy()
        alpha[:20] = 0
        for channels in (1, 3):
            shown = frame(png16(np.dstack([*[TWELVE_BITS + 1000] * channels, alpha])))
            assert shown[:20].max() == 0 and shown[40:].min() > 0

    def test_the_transparent_gray_level_is_black(self) -> None:
        samples = TWELVE_BITS.copy()
        samples[:20] = 60_000
        black = samples.copy()
        black[:20] = 0
        transparent = png_chunk(b"tRNS", struct.pack(">H", 60_000))
        np.testing.assert_array_equal(frame(with_chunk(png_of(samples), transparent)), frame(png_of(black)))

    def test_the_transparent_color_is_black(self) -> None:
        samples = np.dstack([TWELVE_BITS] * 3)
        samples[:20] = (4095, 5, 9)
        transparent = png_chunk(b"tRNS", struct.pack(">3H", 4095, 5, 9))
        assert frame(png16(samples, transparent))[:20].max() == 0

    def test_exif_orientation_is_applied(self) -> None:
        exif = Image.Exif()
        exif[274] = 6
        turned = png16(np.dstack([TWELVE_BITS] * 3), png_chunk(b"eXIf", exif.tobytes()[6:]))
        np.testing.assert_array_equal(frame(turned), np.rot90(frame(png_of(TWELVE_BITS)), -1))

    def test_damage_is_found_as_in_other_pngs(self) -> None:
        data = bytearray(png16(np.dstack([TWELVE_BITS] * 3)))
        data[len(data) // 2] ^= 1
        assert rejected(bytes(data)).reason is RejectionReason.CORRUPT
        assert rejected(bytes(data[: len(data) // 2])).reason is RejectionReason.TRUNCATED


class TestOtherChunks:
    @pytest.mark.parametrize("data", [png_of(GRAY), png16(np.dstack([TWELVE_BITS] * 3))], ids=["gray", "16-bit color"])
    @pytest.mark.parametrize(
        "added",
        [
            png_chunk(b"tEXt", b"Comment\0hello", is_whole=False),
            png_chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), is_whole=False),
            png_chunk(b"tEXt", b"Comment\0" + b"x" * 2**21),
            png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**24))),
            png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**24))),
            png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(np.random.default_rng(1).bytes(2**21))),
            png_chunk(b"iCCP", b"profile\0\0no stream"),
        ],
        ids=[
            "text, wrong checksum", "size, wrong checksum", "long text", "text bomb", "international text bomb",
            "profile of 2 MiB", "damaged profile",
        ],
    )  # fmt: skip
    def test_chunks_outside_the_image_are_ignored(self, data: bytes, added: bytes) -> None:
        np.testing.assert_array_equal(frame(with_chunk(data, added)), frame(data))

    def test_text_after_the_image_is_ignored(self) -> None:
        data = png_of(GRAY)
        end = png_chunk(b"IEND", b"")
        damaged = data.removesuffix(end) + png_chunk(b"tEXt", b"Comment\0" + b"x" * 2**21, is_whole=False) + end
        np.testing.assert_array_equal(frame(damaged), GRAY)

    def test_orientation_in_xmp_is_applied(self) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>3</tiff:Orientation>')
        turned = saved(Image.fromarray(GRAY), pnginfo=text)
        np.testing.assert_array_equal(frame(turned), GRAY[::-1, ::-1])
