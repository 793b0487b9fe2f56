"""Test that non-square pixels of DICOM are resampled to squares, as those of NIfTI are."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.imaging.phantom.volume import as_enhanced_mr, draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import frame, rejected
from tests.dicom_files import mr_of, peak_bytes, written
from tests.images import jpeg_of, png_of

HEAD = draw(TumorClass.GLIOMA, seed=4, size=96).pixels
ROWS, COLUMNS = HEAD.shape
PLAIN = {"PixelSpacing": None, "PixelAspectRatio": None}
"""Removes the spacing of MR_small.dcm, from which ``mr_of`` starts."""


def stretched(pixels: NDArray[np.uint8], columns: int, rows: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))


def with_text(keyword: str, text: str) -> bytes:
    """Return an object whose attribute has these characters, valid or not."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(io.BytesIO(mr_of(HEAD, **PLAIN)))
        vr = pydicom.datadict.dictionary_VR(keyword)
        value = text.encode() + b" " * (len(text) % 2)
        tag = pydicom.tag.Tag(keyword)
        dataset[keyword] = pydicom.dataelem.RawDataElement(tag, vr, len(value), value, 0, False, True)
        return written(dataset)


def measured(*spacings: tuple[float, float] | None, shared: tuple[float, float] | None = None) -> Decoded:
    """Return an enhanced object of frames with these spacings in their functional groups."""
    volume = np.stack([HEAD] * len(spacings))
    dataset = pydicom.dcmread(io.BytesIO(as_enhanced_mr(volume, seed=1)))
    for group, spacing in zip(dataset.PerFrameFunctionalGroupsSequence, spacings, strict=True):
        if spacing is not None:
            group.PixelMeasuresSequence = [measures(spacing)]
    if shared is not None:
        group = Dataset()
        group.PixelMeasuresSequence = [measures(shared)]
        dataset.SharedFunctionalGroupsSequence = [group]
    result = decode(written(dataset))
    assert isinstance(result, Decoded), result
    return result


def measures(spacing: tuple[float, float]) -> Dataset:
    result = Dataset()
    result.PixelSpacing = list(spacing)
    return result


def shapes(decoded: Decoded) -> list[tuple[int, ...]]:
    return [each.pixels.shape for each in decoded.frames]


class TestSpacing:
    @pytest.mark.parametrize(
        ("keyword", "text", "columns", "rows"),
        [
            ("PixelSpacing", "2\\1", COLUMNS, 2 * ROWS),
            ("PixelSpacing", "0.5\\0.75", round(1.5 * COLUMNS), ROWS),
            ("PixelSpacing", "1,5\\0,75", COLUMNS, 2 * ROWS),
            ("PixelAspectRatio", "2\\1", COLUMNS, 2 * ROWS),
            ("PixelAspectRatio", "1\\3", 3 * COLUMNS, ROWS),
            ("PixelAspectRatio", "1.5\\1", COLUMNS, round(1.5 * ROWS)),
            ("ImagerPixelSpacing", "0.4\\0.2", COLUMNS, 2 * ROWS),
            ("NominalScannedPixelSpacing", "1\\2", 2 * COLUMNS, ROWS),
        ],
    )
    def test_the_shorter_side_of_the_pixels_is_stretched(
        self, keyword: str, text: str, columns: int, rows: int
    ) -> None:
        np.testing.assert_array_equal(frame(with_text(keyword, text)), stretched(HEAD, columns, rows))

    def test_squashed_head_gives_the_same_model_input(self) -> None:
        squashed = stretched(HEAD, COLUMNS, ROWS // 2)
        whole = letterbox(HEAD, size=64).astype(int)
        shown = letterbox(frame(mr_of(squashed, **{**PLAIN, "PixelSpacing": [2, 1]})), size=64)
        assert 4 * np.abs(shown - whole).mean() < np.abs(letterbox(squashed, size=64) - whole).mean()

    def test_color_is_stretched(self) -> None:
        color = np.dstack([HEAD, HEAD // 2, HEAD // 3])
        shown = frame(mr_of(color, **{**PLAIN, "PixelSpacing": [1, 2]}))
        np.testing.assert_array_equal(shown, stretched(color, 2 * COLUMNS, ROWS))

    def test_a_spacing_counts_more_than_a_ratio(self) -> None:
        assert frame(mr_of(HEAD, PixelSpacing=[1, 1], PixelAspectRatio=[2, 1])).shape == (ROWS, COLUMNS)

    def test_a_ratio_counts_where_the_spacing_is_unusable(self) -> None:
        assert frame(mr_of(HEAD, PixelSpacing=[0, 0], PixelAspectRatio=[2, 1])).shape == (2 * ROWS, COLUMNS)

    @pytest.mark.parametrize(
        "text",
        ["0\\1", "-2\\1", "nan\\1", "1e400\\1", "20\\1", "2", "2\\1\\1", "", "wide\\high", "0.5\\0.502", "9" * 400],
    )
    def test_unusable_and_nearly_square_pixels_stay_as_they_are(self, text: str) -> None:
        np.testing.assert_array_equal(frame(with_text("PixelSpacing", text)), HEAD)


class TestFunctionalGroups:
    def test_each_frame_has_its_own_spacing_before_the_shared_one(self) -> None:
        result = measured((2, 1), None, (1, 1), shared=(1, 3))
        assert shapes(result) == [(2 * ROWS, COLUMNS), (ROWS, 3 * COLUMNS), (ROWS, COLUMNS)]

    def test_frames_without_spacing_stay_as_they_are(self) -> None:
        assert shapes(measured(None, None)) == [(ROWS, COLUMNS)] * 2


class TestLimits:
    def test_pixel_limit_holds_for_the_stretched_image(self) -> None:
        data = mr_of(HEAD, **{**PLAIN, "PixelSpacing": [8, 1]})
        limits = Limits(max_pixels=ROWS * COLUMNS * 4)
        assert peak_bytes(lambda: decode(data, limits=limits)) < 1_000_000
        assert rejected(data, limits).reason is RejectionReason.TOO_MANY_PIXELS

    def test_the_limit_holds_for_all_frames_together(self) -> None:
        volume = draw_volume(TumorClass.GLIOMA, seed=1, slices=8, size=64)
        dataset = pydicom.dcmread(io.BytesIO(as_enhanced_mr(volume, seed=1)))
        dataset.PixelSpacing = [4, 1]
        data = written(dataset)
        assert rejected(data, Limits(max_pixels=31 * 64 * 64)).reason is RejectionReason.TOO_MANY_PIXELS
        assert isinstance(decode(data, limits=Limits(max_pixels=32 * 64 * 64)), Decoded)


def test_print_density_does_not_stretch_the_image() -> None:
    assert frame(jpeg_of(HEAD, dpi=(72, 144))).shape == HEAD.shape
    assert frame(png_of(HEAD, dpi=(72, 144))).shape == HEAD.shape
