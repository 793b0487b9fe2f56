"""DICOM as scanners, archives and accidents send it: what is shown."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from braintumor.imaging.frames import Decoded, decode
from braintumor.imaging.rejection import RejectionReason
from tests.dicom_files import (
    RAMP,
    frame,
    mr_of,
    rejected,
)


class TestDisplay:
    def test_the_same_image_as_png_and_as_dicom_is_the_same_frame(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(RAMP).save(buffer, "PNG")
        as_png, as_dicom = decode(buffer.getvalue()), decode(mr_of(RAMP))
        assert isinstance(as_png, Decoded) and isinstance(as_dicom, Decoded)
        np.testing.assert_array_equal(as_png.frames[0].pixels, as_dicom.frames[0].pixels)
        assert as_png.pixel_sha256 == as_dicom.pixel_sha256

    def test_monochrome1_is_the_inverse(self) -> None:
        inverse = frame(mr_of(RAMP, PhotometricInterpretation="MONOCHROME1"))
        np.testing.assert_array_equal(inverse, 255 - RAMP)

    def test_below_the_window_is_black_above_it_white_and_its_centre_grey(self) -> None:
        shown = frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41))
        assert not shown[RAMP <= 79].any()
        assert (shown[RAMP >= 120] == 255).all()
        assert np.abs(shown[RAMP == 100].astype(int) - 128).max() <= 4

    def test_the_first_of_several_windows_counts(self) -> None:
        several = frame(mr_of(RAMP, WindowCenter=[100, 30], WindowWidth=[41, 5]))
        np.testing.assert_array_equal(several, frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41)))

    def test_the_window_is_in_rescaled_units(self) -> None:
        rescaled = mr_of(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-799.5, WindowWidth=81)
        assert not frame(rescaled)[RAMP < 79].any()
        assert (frame(rescaled)[RAMP > 121] == 255).all()

    def test_without_a_window_hot_pixels_do_not_darken_the_rest(self) -> None:
        hot = RAMP.astype(np.uint16)
        hot[0, :5] = 60_000
        shown = frame(mr_of(hot, WindowCenter=None, WindowWidth=None))
        assert 60 < np.median(shown) < 190

    @pytest.mark.parametrize("width", [0, -5])
    def test_a_senseless_window_is_passed_over(self, width: int) -> None:
        without = frame(mr_of(RAMP, WindowCenter=None, WindowWidth=None))
        np.testing.assert_array_equal(frame(mr_of(RAMP, WindowCenter=100, WindowWidth=width)), without)

    def test_signed_values_keep_their_order(self) -> None:
        signed = RAMP.astype(np.int16) - 128
        shown = frame(mr_of(signed, WindowCenter=0, WindowWidth=256))
        assert np.abs(shown.astype(int) - RAMP).max() <= 1

    def test_colour_stays_and_grey_stored_as_colour_becomes_grey(self) -> None:
        colour = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
        np.testing.assert_array_equal(frame(mr_of(colour)), colour)
        np.testing.assert_array_equal(frame(mr_of(np.dstack([RAMP] * 3))), RAMP)

    def test_a_window_that_shows_one_value_only_is_blank(self) -> None:
        blank = mr_of(RAMP, WindowCenter=5000, WindowWidth=10)
        assert rejected(blank).reason is RejectionReason.BLANK_IMAGE


def test_an_enhanced_objects_window_in_its_functional_groups_counts() -> None:
    voi, group = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 100, 41
    group.FrameVOILUTSequence = Sequence([voi])
    grouped = mr_of(
        RAMP, WindowCenter=None, WindowWidth=None, SharedFunctionalGroupsSequence=Sequence([group]), NumberOfFrames=1
    )
    np.testing.assert_array_equal(frame(grouped), frame(mr_of(RAMP, WindowCenter=100, WindowWidth=41)))
