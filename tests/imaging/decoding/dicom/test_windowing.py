"""Test the gray levels of stored values: DICOM's window, table, rescale and color, and deep PNGs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.dicom import reader
from braintumor.imaging.decoding.dicom.windowing import window
from braintumor.imaging.decoding.gray_levels import deep_to_uint8
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.dicom_files import mr_of
from tests.images import jpeg_of, png_of

RAMP = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (64, 1))  # (64, 256): 0, 16, .. 4080
GRAY = draw(TumorClass.MENINGIOMA, seed=2, size=96).pixels


def mr(pixels: NDArray[Any], **tags: Any) -> bytes:
    """Return an object without a window, unless tags state one."""
    return mr_of(pixels, **{"WindowCenter": None, "WindowWidth": None, **tags})


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


class TestWindow:
    def test_window_edges_are_black_and_white(self) -> None:
        pixels = frame(mr(RAMP, WindowCenter=1000, WindowWidth=1001))
        expected = np.rint(np.clip((RAMP.astype(float) - 499.5) / 1000, 0, 1) * 255)
        np.testing.assert_array_equal(pixels, expected)

    def test_a_window_that_shows_one_value_only_is_blank(self) -> None:
        assert rejected(mr(RAMP, WindowCenter=9000, WindowWidth=10)).reason is RejectionReason.BLANK_IMAGE

    def test_a_window_wider_than_the_values_is_not_stretched_to_them(self) -> None:
        pixels = frame(mr(RAMP // 4, WindowCenter=2048, WindowWidth=4096))
        assert pixels.max() == round(1020 / 4095 * 255)

    def test_window_of_eight_bits_keeps_stored_values(self) -> None:
        np.testing.assert_array_equal(frame(mr(GRAY, WindowCenter=128, WindowWidth=256)), GRAY)

    def test_the_first_of_several_windows_counts(self) -> None:
        several = mr(RAMP, WindowCenter=[1000, 3000], WindowWidth=[1001, 50])
        np.testing.assert_array_equal(frame(several), frame(mr(RAMP, WindowCenter=1000, WindowWidth=1001)))

    @pytest.mark.parametrize(
        ("width", "center"), [(0, 1000), (-5, 1000), (None, 1000), (500, None), ("", 1000), (500, "")]
    )
    def test_impossible_window_counts_as_absent(self, width: int | str | None, center: int | str | None) -> None:
        np.testing.assert_array_equal(frame(mr(RAMP, WindowCenter=center, WindowWidth=width)), frame(mr(RAMP)))

    def test_values_are_windowed_by_the_functions_of_the_standard(self) -> None:
        values = np.array([0.0, 50.0, 100.0, 150.0, 200.0])
        np.testing.assert_allclose(window(values, 100, 100, "LINEAR_EXACT"), [0, 0, 0.5, 1, 1])
        np.testing.assert_allclose(window(values, 100, 100, "LINEAR"), [0, 0, 50 / 99, 1, 1])
        sigmoid = window(values, 100, 100, "SIGMOID")
        assert sigmoid[2] == 0.5 and sigmoid[1] == pytest.approx(1 / (1 + np.e**2))
        pixels = frame(mr(RAMP, WindowCenter=2000, WindowWidth=1, VOILUTFunction="SIGMOID"))
        assert pixels.min() == 0 and pixels.max() == 255

    def test_without_a_window_hot_pixels_do_not_darken_the_image(self) -> None:
        hot = RAMP.copy()
        hot[0, :5] = 65_000
        assert np.abs(frame(mr(hot)).astype(int) - frame(mr(RAMP)))[1:].max() <= 2

    def test_padding_has_no_part_in_the_range(self) -> None:
        padded = RAMP.astype(np.int16)
        padded[:32] = -32_768
        pixels = frame(mr(padded, PixelPaddingValue=-32_768))
        assert pixels[:32].max() == 0
        assert np.abs(pixels[32:].astype(int) - frame(mr(RAMP))[32:]).max() <= 1

    def test_a_small_bright_spot_on_nothing_is_still_shown(self) -> None:
        spot = np.zeros((64, 64), np.uint16)
        spot[30:32, 30:32] = 900
        assert frame(mr(spot)).max() == 255


class TestValues:
    def test_the_window_is_in_rescaled_units(self) -> None:
        rescaled = mr(RAMP, RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=400, WindowWidth=1001)
        plain = mr(RAMP // 2, WindowCenter=500, WindowWidth=1001)
        np.testing.assert_array_equal(frame(rescaled), frame(plain))

    @pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
    def test_signed_and_wide_values_show_alike(self, dtype: type) -> None:
        offset = 2048 if dtype is np.uint16 else 0
        stored = (RAMP.astype(np.int64) - 2048 + offset).astype(dtype)
        pixels = frame(mr(stored, WindowCenter=offset, WindowWidth=2001))
        np.testing.assert_array_equal(pixels, frame(mr(RAMP, WindowCenter=2048, WindowWidth=2001)))

    def test_twelve_bits_in_sixteen_are_shown_as_sixteen_are(self) -> None:
        np.testing.assert_array_equal(frame(mr(RAMP, BitsStored=12, HighBit=11)), frame(mr(RAMP)))

    def test_a_voi_table_decides_before_a_window(self) -> None:
        steps = item(LUTDescriptor=[4096, 0, 16], LUTData=np.repeat([0, 65_535], 2048).astype("<u2").tobytes())
        steps["LUTData"].VR = "OW"
        pixels = frame(mr(RAMP, VOILUTSequence=Sequence([steps]), WindowCenter=5, WindowWidth=5))
        np.testing.assert_array_equal(pixels, np.where(RAMP < 2048, 0, 255))

    @pytest.mark.parametrize("entries", [4096, 4095], ids=["whole", "without its last entry"])
    def test_table_without_its_last_entry_has_two_bytes_each(self, entries: int) -> None:
        values = np.rint(np.linspace(0, 65_535, 4096) / 256) * 256
        table = item(LUTDescriptor=[4096, 0, 16], LUTData=values[:entries].astype("<u2").tobytes())
        table["LUTData"].VR = "OW"
        pixels = frame(mr(RAMP, VOILUTSequence=Sequence([table])))
        np.testing.assert_allclose(pixels, values[RAMP] / 65_535 * 255, atol=1)

    def test_modality_table_is_applied_before_the_window(self) -> None:
        table = item(LUTDescriptor=[4096, 0, 16], LUTData=np.arange(0, 8192, 2, np.uint16).astype("<u2").tobytes())
        table["LUTData"].VR = "OW"
        data = mr(RAMP, ModalityLUTSequence=Sequence([table]), WindowCenter=4096, WindowWidth=4001)
        np.testing.assert_array_equal(frame(data), frame(mr(RAMP * 2, WindowCenter=4096, WindowWidth=4001)))

    def test_unusable_modality_table_counts_as_absent(self) -> None:
        table = item(LUTDescriptor=[4096, 0, 16], LUTData=bytes(20))
        table["LUTData"].VR = "OW"
        np.testing.assert_array_equal(frame(mr(RAMP, ModalityLUTSequence=Sequence([table]))), frame(mr(RAMP)))

    def test_enhanced_object_reads_window_and_rescale_of_groups(self) -> None:
        group = item(
            FrameVOILUTSequence=Sequence([item(WindowCenter=1000, WindowWidth=1001)]),
            PixelValueTransformationSequence=Sequence([item(RescaleSlope=2, RescaleIntercept=0)]),
        )
        enhanced = mr(RAMP, SharedFunctionalGroupsSequence=Sequence([group]))
        np.testing.assert_array_equal(frame(enhanced), frame(mr(RAMP, WindowCenter=500.25, WindowWidth=501)))

    def test_monochrome1_of_inverted_values_shows_the_same(self) -> None:
        inverted = mr(255 - GRAY, PhotometricInterpretation="MONOCHROME1", WindowCenter=128, WindowWidth=256)
        np.testing.assert_array_equal(frame(inverted), GRAY)


class TestFrames:
    WINDOW: ClassVar[dict[str, int]] = {"WindowCenter": 1000, "WindowWidth": 2001}
    STACK = np.stack([RAMP, RAMP // 2, RAMP[:, ::-1]])

    @staticmethod
    def stack_of(frames: NDArray[Any], **tags: Any) -> bytes:
        return mr(frames[0], **{"NumberOfFrames": len(frames), "PixelData": frames.tobytes(), **tags})

    def test_frame_of_only_padding_leaves_the_range_of_others(self) -> None:
        frames = self.STACK.astype(np.int16)
        padded = np.concatenate([frames, np.full_like(frames[:1], -32_768)])
        expected, result = decode(self.stack_of(frames)), decode(self.stack_of(padded, PixelPaddingValue=-32_768))
        assert isinstance(expected, Decoded) and isinstance(result, Decoded)
        assert result.frame_count == 4 and result.pixel_sha256 == expected.pixel_sha256

    @pytest.mark.parametrize(
        ("case", "decodings"), [("window", 1), ("each", 1), ("table", 1), ("color", 1), ("none", 2)]
    )
    def test_frames_are_decoded_twice_only_without_a_range(
        self, case: str, decodings: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = item(LUTDescriptor=[4096, 0, 16], LUTData=np.arange(0, 65_536, 16, np.int32).astype("<u2").tobytes())
        table["LUTData"].VR = "OW"
        groups = [item(FrameVOILUTSequence=Sequence([item(**self.WINDOW)])) for _ in self.STACK]
        data = {
            "window": lambda: self.stack_of(self.STACK, **self.WINDOW),
            "each": lambda: self.stack_of(self.STACK, PerFrameFunctionalGroupsSequence=Sequence(groups)),
            "table": lambda: self.stack_of(self.STACK, VOILUTSequence=Sequence([table])),
            "color": lambda: self.stack_of(np.stack([np.dstack([GRAY, GRAY // 2, GRAY])] * 2)),
            "none": lambda: self.stack_of(self.STACK),
        }[case]()
        calls = []
        stored = reader._decoded
        monkeypatch.setattr(reader, "_decoded", lambda dataset: calls.append(dataset) or stored(dataset))
        assert isinstance(decode(data), Decoded)
        assert len(calls) == decodings


class TestColor:
    COLOR = np.dstack([GRAY, GRAY[::-1], np.zeros_like(GRAY)])

    @pytest.mark.parametrize("deepen", [lambda c: c, lambda c: c.astype(np.uint16) * 257], ids=["8 bits", "16 bits"])
    def test_rgb_keeps_its_colors(self, deepen: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        data = mr(deepen(self.COLOR), PhotometricInterpretation="RGB")
        np.testing.assert_array_equal(frame(data), self.COLOR)

    def test_ybr_is_converted_once(self) -> None:
        ybr = np.asarray(Image.fromarray(self.COLOR).convert("YCbCr"))
        pixels = frame(mr(ybr, PhotometricInterpretation="YBR_FULL"))
        assert np.abs(pixels.astype(int) - self.COLOR).max() <= 3

    def test_gray_stored_as_rgb_is_gray(self) -> None:
        np.testing.assert_array_equal(frame(mr(np.dstack([GRAY] * 3), PhotometricInterpretation="RGB")), GRAY)

    def test_a_palette_is_looked_up(self) -> None:
        table = np.arange(255, -1, -1, dtype=np.uint8).tobytes()
        tags = {f"{c}PaletteColorLookupTableData": table for c in ("Red", "Green", "Blue")}
        descriptors = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 8] for c in ("Red", "Green", "Blue")}
        data = mr(GRAY, PhotometricInterpretation="PALETTE COLOR", **descriptors, **tags)
        np.testing.assert_array_equal(frame(data), 255 - GRAY)


class TestSameImage:
    def test_png_jpeg_and_dicom_of_one_image_give_one_frame(self) -> None:
        np.testing.assert_array_equal(frame(png_of(GRAY)), GRAY)
        np.testing.assert_array_equal(frame(mr(GRAY, WindowCenter=128, WindowWidth=256)), GRAY)
        assert np.abs(frame(jpeg_of(GRAY)).astype(int) - GRAY).mean() < 2

    def test_png_jpeg_and_dicom_share_the_perceptual_hash(self) -> None:
        files = [png_of(GRAY), png_of(np.dstack([GRAY] * 3)), mr(GRAY, WindowCenter=128, WindowWidth=256)]
        decoded = [decode(data) for data in files]
        assert len({d.pixel_sha256 for d in decoded if isinstance(d, Decoded)}) == 1

    @pytest.mark.parametrize("factor", [257, 256])
    def test_eight_bits_in_a_16_bit_png_are_restored_exactly(self, factor: int) -> None:
        np.testing.assert_array_equal(frame(png_of(GRAY.astype(np.uint16) * factor)), GRAY)

    def test_deep_png_equals_dicom_without_window(self) -> None:
        np.testing.assert_array_equal(frame(png_of(RAMP)), frame(mr(RAMP)))

    def test_a_transparent_gray_level_is_black(self) -> None:
        level = int(GRAY.max())
        np.testing.assert_array_equal(frame(png_of(GRAY, transparency=level)), np.where(level == GRAY, 0, GRAY))


class TestDepthsBeyondSixteenBits:
    """A TIFF may have 32 bits, and no bit is cut off."""

    @pytest.mark.parametrize("shift", [8, 16])
    def test_shifted_values_show_the_same_as_unshifted(self, shift: int) -> None:
        ramp = np.tile(np.linspace(0, 4095, 96).astype(np.int32), (96, 1))
        np.testing.assert_array_equal(deep_to_uint8(ramp << shift), deep_to_uint8(ramp))
