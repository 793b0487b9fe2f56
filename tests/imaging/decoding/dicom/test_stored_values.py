"""Test the values of stored samples: bits, sign, padding, and lookup tables."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from imagecodecs import jpeg8_encode
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame
from tests.dicom_files import codestream, encapsulated, mr_of, with_bytes

GRAY = draw(TumorClass.MENINGIOMA, seed=6, size=96).pixels
DEEP = GRAY.astype(np.uint16) * 16  # 12 bits
SIGNED = DEEP.astype(np.int16) - 2048
LOSSLESS = [
    uid.ExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
]
IN_12_BITS = {"BitsStored": 12, "HighBit": 11}


def stored(pixels: NDArray[Any], syntax: str, **tags: Any) -> bytes:
    """Return an object whose samples are exactly these words of 16 bits."""
    if syntax == uid.ExplicitVRLittleEndian:
        return mr_of(pixels, **tags)
    return encapsulated(mr_of(pixels, **tags), syntax, [codestream(pixels.view(np.uint16), syntax)])


def shown(values: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    """Return the values through a window, in the arithmetic of the standard (PS3.3 C.11.2.1.2)."""
    shares = (values.astype(float) - (center - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


class TestBits:
    WINDOW: ClassVar = {"WindowCenter": 2048, "WindowWidth": 4096}
    SIGNED_WINDOW: ClassVar = {"WindowCenter": 0, "WindowWidth": 3001}

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_an_overlay_above_the_stored_bits_is_not_shown(self, syntax: str) -> None:
        with_overlay = DEEP.copy()
        with_overlay[10:30] |= 0x8000
        with_overlay[40:50] |= 0x5000
        data = stored(with_overlay, syntax, **IN_12_BITS, **self.WINDOW)
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_signed_values_without_their_upper_bits_are_signed(self, syntax: str) -> None:
        data = stored(SIGNED & 0x0FFF, syntax, **IN_12_BITS, **self.SIGNED_WINDOW)
        np.testing.assert_array_equal(frame(data), shown(SIGNED, 0, 3001))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_signed_values_of_sixteen_bits_are_signed(self, syntax: str) -> None:
        data = stored(SIGNED, syntax, **self.SIGNED_WINDOW)
        np.testing.assert_array_equal(frame(data), shown(SIGNED, 0, 3001))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    @pytest.mark.parametrize("below", [0, 0b1001], ids=["zeros below", "an overlay below"])
    def test_values_that_end_at_a_higher_bit_are_shifted_down(self, syntax: str, below: int) -> None:
        data = stored((DEEP << 4) | np.uint16(below), syntax, BitsStored=12, HighBit=15, **self.WINDOW)
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))

    @pytest.mark.parametrize("syntax", LOSSLESS)
    def test_signed_values_that_end_at_a_higher_bit_are_signed(self, syntax: str) -> None:
        data = stored(SIGNED << 2, syntax, BitsStored=12, HighBit=13, **self.SIGNED_WINDOW)
        np.testing.assert_array_equal(frame(data), shown(SIGNED, 0, 3001))

    def test_values_below_a_wrong_high_bit_are_unchanged(self) -> None:
        odd = DEEP | np.uint16(1)
        data = mr_of(odd, BitsStored=12, HighBit=15, **self.WINDOW)
        np.testing.assert_array_equal(frame(data), shown(odd, 2048, 4096))

    @pytest.mark.parametrize("high", [0, 5, 40])
    def test_an_impossible_high_bit_does_not_count(self, high: int) -> None:
        data = mr_of(DEEP, BitsStored=12, HighBit=high, **self.WINDOW)
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))

    @pytest.mark.parametrize("stored_bits", [0, 1, 17, 200])
    def test_an_impossible_number_of_stored_bits_does_not_count(self, stored_bits: int) -> None:
        data = mr_of(DEEP, BitsStored=stored_bits, HighBit=None, **self.WINDOW)
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))

    def test_codestream_of_fewer_bits_keeps_its_own_sign_bit(self) -> None:
        twelve = bytes(jpeg8_encode(SIGNED.view(np.uint16) & 0x0FFF, lossless=True, predictor=1, bitspersample=12))
        data = encapsulated(mr_of(SIGNED, **self.SIGNED_WINDOW), uid.JPEGLosslessSV1, [twelve])
        np.testing.assert_array_equal(frame(data), shown(SIGNED, 0, 3001))


class TestPadding:
    OUTSIDE = np.zeros(GRAY.shape, bool)
    OUTSIDE[:20] = True

    @pytest.mark.parametrize("padding", [0, 4095, 65_535])
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_with_a_window(self, photometric: str, padding: int) -> None:
        values = np.where(self.OUTSIDE, padding, DEEP // 2 + 50).astype(np.uint16)
        window = {"WindowCenter": 1000, "WindowWidth": 2001}
        data = mr_of(values, PhotometricInterpretation=photometric, PixelPaddingValue=padding, **window)
        visible = shown(DEEP // 2 + 50, 1000, 2001).astype(int)
        expected = np.where(self.OUTSIDE, 0, 255 - visible if photometric == "MONOCHROME1" else visible)
        assert np.abs(frame(data) - expected).max() <= 1  # a value halfway between two levels may be rounded up or down

    @pytest.mark.parametrize("ends", [(0, 9), (9, 0)])
    def test_a_range_of_padding_is_black_and_out_of_the_range_shown(self, ends: tuple[int, int]) -> None:
        values = np.where(self.OUTSIDE, np.arange(GRAY.shape[1]) % 10, DEEP + 1000).astype(np.uint16)
        tags = {"WindowCenter": None, "WindowWidth": None, "PhotometricInterpretation": "MONOCHROME1"}
        data = mr_of(values, **tags, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
        alone = frame(mr_of((DEEP + 1000)[20:], **tags))
        np.testing.assert_array_equal(frame(data)[20:], alone)
        assert frame(data)[:20].max() == 0

    @pytest.mark.parametrize(
        ("dtype", "padding", "vr", "written"),
        [
            (np.int16, -2000, "US", (63_536).to_bytes(2, "little")),
            (np.int16, -32_768, "US", (32_768).to_bytes(2, "little")),
            (np.uint16, 63_536, "SS", (63_536).to_bytes(2, "little")),
            (np.int16, -2000, "DS", b"-2000 "),
        ],
    )
    def test_padding_of_the_other_sign_is_known(self, dtype: type, padding: int, vr: str, written: bytes) -> None:
        values = np.where(self.OUTSIDE, padding, DEEP).astype(dtype)
        tags = {"WindowCenter": None, "WindowWidth": None}
        shown_frame = frame(with_bytes(mr_of(values, **tags), "PixelPaddingValue", written, vr=vr))
        np.testing.assert_array_equal(shown_frame[20:], frame(mr_of(DEEP[20:].astype(dtype), **tags)))
        assert shown_frame[:20].max() == 0

    def test_padding_of_all_values_is_ignored(self) -> None:
        data = mr_of(DEEP, PixelPaddingValue=0, PixelPaddingRangeLimit=65_535, WindowCenter=2048, WindowWidth=4096)
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))

    @pytest.mark.parametrize("value", [b"", b"none", b"\1"])
    def test_padding_that_is_not_a_number_is_ignored(self, value: bytes) -> None:
        data = with_bytes(mr_of(DEEP, WindowCenter=2048, WindowWidth=4096), "PixelPaddingValue", value, vr="LO")
        np.testing.assert_array_equal(frame(data), shown(DEEP, 2048, 4096))


class TestPalettes:
    """Test palettes, which have one table per color."""

    RED, GREEN, BLUE = np.arange(256), np.arange(256)[::-1], np.arange(256) // 2
    EXPECTED = np.dstack([RED[GRAY], GREEN[GRAY], BLUE[GRAY]])

    def palette(self, dtype: str, factor: int, descriptor: list[int], indexes: NDArray[Any] = GRAY) -> bytes:
        tags: dict[str, Any] = {}
        for name, table in (("Red", self.RED), ("Green", self.GREEN), ("Blue", self.BLUE)):
            tags[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
            tags[f"{name}PaletteColorLookupTableData"] = (table * factor).astype(dtype).tobytes()
        return mr_of(indexes, PhotometricInterpretation="PALETTE COLOR", **tags)

    @pytest.mark.parametrize(
        ("dtype", "factor", "bits"),
        [
            ("u1", 1, 8),
            ("u1", 1, 16),
            ("<u2", 1, 16),
            ("<u2", 1, 8),
            ("<u2", 257, 16),
            ("<u2", 256, 16),
            ("<u2", 16, 12),
        ],
    )
    def test_a_palette_is_as_bright_as_meant(self, dtype: str, factor: int, bits: int) -> None:
        pixels = frame(self.palette(dtype, factor, [256, 0, bits]))
        assert np.abs(pixels - self.EXPECTED).max() <= 1
        assert pixels.max() >= 254

    def test_a_palette_may_begin_above_0(self) -> None:
        data = self.palette("u1", 1, [256, 100, 8], indexes=GRAY.astype(np.uint16) + 100)
        np.testing.assert_array_equal(frame(data), self.EXPECTED)

    def test_palette_may_begin_below_0_as_unsigned(self) -> None:
        data = self.palette("u1", 1, [256, 0, 8], indexes=GRAY.astype(np.int16) - 100)
        for name in ("Red", "Green", "Blue"):
            descriptor = np.array([256, 65_436, 8], "<u2").tobytes()
            data = with_bytes(data, f"{name}PaletteColorLookupTableDescriptor", descriptor, vr="US")
        np.testing.assert_array_equal(frame(data), self.EXPECTED)

    def test_a_palette_in_capitals_or_not_is_one(self) -> None:
        data = with_bytes(self.palette("u1", 1, [256, 0, 8]), "PhotometricInterpretation", b"Palette Color ")
        np.testing.assert_array_equal(frame(data), self.EXPECTED)


class TestTables:
    """Test VOI LUTs that show 0 to 4095, or the part that their entries cover."""

    WINDOW: ClassVar = {"WindowCenter": 1000, "WindowWidth": 2001}

    def table(self, descriptor: list[int], entries: NDArray[Any], pixels: NDArray[Any] = DEEP, **tags: Any) -> bytes:
        item = Dataset()
        item.LUTDescriptor, item.LUTData = descriptor, entries.tobytes() + b"\0" * (entries.nbytes % 2)
        item["LUTData"].VR = "OW"
        item["LUTDescriptor"].VR = "US" if min(descriptor) >= 0 else "SS"
        return mr_of(pixels, VOILUTSequence=Sequence([item]), **{**self.WINDOW, **tags})

    @pytest.mark.parametrize("most", [4095, 1000, 255])
    @pytest.mark.parametrize("bits", [16, 14])
    def test_entries_of_fewer_bits_than_stated_reach_white(self, most: int, bits: int) -> None:
        entries = np.linspace(0, most, 4096).astype("<u2")
        expected = np.rint(entries[DEEP] / most * 255)
        np.testing.assert_array_equal(frame(self.table([4096, 0, bits], entries)), expected)

    @pytest.mark.parametrize(("bits", "most"), [(16, 65_535), (16, 40_000), (12, 4095), (12, 3000), (10, 1023)])
    def test_entries_of_the_bits_stated_are_shown_by_these(self, bits: int, most: int) -> None:
        entries = np.linspace(0, most, 4096).astype("<u2")
        expected = np.rint(entries[DEEP] / (2**bits - 1) * 255)
        np.testing.assert_array_equal(frame(self.table([4096, 0, bits], entries)), expected)

    @pytest.mark.parametrize("dtype", ["u1", "<u2"])
    def test_entries_of_a_byte_are_read_in_bytes_and_words(self, dtype: str) -> None:
        entries = (np.arange(4096) // 16).astype(dtype)
        np.testing.assert_array_equal(frame(self.table([4096, 0, 8], entries)), GRAY)

    @pytest.mark.parametrize("first", [-2048, 65_536 - 2048])
    def test_a_table_may_begin_below_0_with_or_without_a_sign(self, first: int) -> None:
        entries = np.arange(4096, dtype="<u2")
        data = self.table([4096, first, 12], entries, pixels=SIGNED)
        np.testing.assert_array_equal(frame(data), np.rint(DEEP / 4095 * 255))

    def test_a_table_below_0_is_known_by_its_values_alone(self) -> None:
        entries = np.linspace(0, 4095, 1500).astype("<u2")
        small = (DEEP // 4).astype(np.int16)  # 0 to 1023
        data = self.table([1500, 65_536 - 400, 12], entries, pixels=small)
        np.testing.assert_array_equal(frame(data), np.rint(entries[small + 400] / 4095 * 255))

    def test_a_table_in_the_upper_half_stays_there(self) -> None:
        pixels = DEEP + np.uint16(50_000)
        data = self.table([4096, 50_000, 12], np.arange(4096, dtype="<u2"), pixels=pixels)
        np.testing.assert_array_equal(frame(data), np.rint(DEEP / 4095 * 255))

    @pytest.mark.parametrize(
        ("descriptor", "entries"),
        [
            ([4096, 0, 16], np.zeros(4096, "<u2")),
            ([4096, 0, 16], np.arange(100, dtype="<u2")),
            ([1, 0, 16], np.arange(2, dtype="<u2")),
            ([4096, 0], np.arange(4096, dtype="<u2")),
            ([0, 0, 0], np.arange(2, dtype="<u2")),
        ],
    )
    def test_a_table_that_cannot_be_used_leaves_the_window(self, descriptor: list[int], entries: NDArray[Any]) -> None:
        np.testing.assert_array_equal(frame(self.table(descriptor, entries)), frame(mr_of(DEEP, **self.WINDOW)))
