"""Test that DICOM images of several slices are split as the header states, or rejected."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.phantom.volume import draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import decoded, frame, rejected
from tests.dicom_files import RAMP, mr_of, written

SIEMENS, UNITED = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], ["ORIGINAL", "PRIMARY", "VFRAME"]
HEADS = draw_volume(TumorClass.PITUITARY, seed=3, slices=30, size=48)[9:21]
"""Twelve slices with a head, without air at the ends."""


def tiled(slices: NDArray[Any]) -> NDArray[Any]:
    """Return the slices in the smallest square grid, row by row. Unused cells are black."""
    side = int(np.ceil(np.sqrt(len(slices))))
    height, width = slices.shape[1:3]
    image = np.zeros((side * height, side * width, *slices.shape[3:]), slices.dtype)
    for place, each in enumerate(slices):
        row, column = divmod(place, side)
        image[row * height : (row + 1) * height, column * width : (column + 1) * width] = each
    return image


def csa_header(count: int, *, name: bytes = b"NumberOfImagesInMosaic") -> bytes:
    """Return a Siemens CSA header of format 2 with two fields, one of them the number of slices."""
    fields = b""
    for field, text in ((b"AcquisitionMatrixText", b"48*48"), (name, str(count).encode())):
        fields += struct.pack("<64si4s3i", field, 1, b"IS" if text.isdigit() else b"SH", 6, 1, 77)
        value = text + b"\0"
        fields += struct.pack("<4i", len(value), len(value), 77, len(value)) + value + b"\0" * (-len(value) % 4)
    return b"SV10\4\3\2\1" + struct.pack("<2I", 2, 77) + fields


def mosaic(image: NDArray[Any], image_type: list[str], **tags: Any) -> Dataset:
    with pydicom.config.disable_value_validation():
        return pydicom.dcmread(io.BytesIO(mr_of(image, ImageType=image_type, **tags)))


def siemens(image: NDArray[Any], count: Any, *, vr: str = "US") -> bytes:
    dataset = mosaic(image, SIEMENS)
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, vr, count)
    return written(dataset)


def siemens_csa(image: NDArray[Any], header: bytes) -> bytes:
    dataset = mosaic(image, SIEMENS)
    dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return written(dataset)


def united(image: NDArray[Any], count: int) -> bytes:
    dataset = mosaic(image, UNITED)
    dataset.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", str(count))
    return written(dataset)


def united_items(image: NDArray[Any], count: int) -> bytes:
    dataset = mosaic(image, UNITED)
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x51, "SQ", [Dataset() for _ in range(count)])
    return written(dataset)


def without_creator(image: NDArray[Any], count: int) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(siemens(image, count)))
    del dataset[0x0019, 0x0010]
    return written(dataset)


def unknown_vr(image: NDArray[Any], count: int) -> bytes:
    return siemens(image, count.to_bytes(2, "little"), vr="UN")


WRITERS = {
    "siemens": siemens, "text": lambda image, count: siemens(image, str(count), vr="IS"), "unknown": unknown_vr,
    "no creator": without_creator, "csa": lambda image, count: siemens_csa(image, csa_header(count)),
    "united": united, "united items": united_items,
}  # fmt: skip


class TestSplit:
    @pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
    @pytest.mark.parametrize("count", [2, 3, 4, 9, 12])
    def test_every_slice_is_a_frame_in_the_order_of_the_grid(self, write: Any, count: int) -> None:
        result = decoded(write(tiled(HEADS[:count]), count))
        assert result.frame_count == count
        assert [each.index for each in result.frames] == list(range(count))
        for each in result.frames:
            np.testing.assert_array_equal(each.pixels, HEADS[each.index])

    def test_the_frames_of_a_mosaic_object_follow_each_other(self) -> None:
        images = np.stack([tiled(HEADS[:4]), tiled(HEADS[4:8])])
        dataset = pydicom.dcmread(io.BytesIO(siemens(images[0], 4)))
        dataset.NumberOfFrames, dataset.PixelData = 2, images.tobytes()
        result = decoded(written(dataset))
        assert result.frame_count == 8 and [each.index for each in result.frames] == list(range(8))
        for each in result.frames:
            np.testing.assert_array_equal(each.pixels, HEADS[each.index])

    def test_slices_with_color_and_long_pixels_are_cut_and_stretched(self) -> None:
        color = np.stack([HEADS[:4], HEADS[:4] // 2, HEADS[:4] // 3], axis=3)
        dataset = pydicom.dcmread(io.BytesIO(siemens(tiled(color), 4)))
        dataset.PixelSpacing = [2, 1]
        assert {each.pixels.shape for each in decoded(written(dataset)).frames} == {(96, 48, 3)}

    def test_a_number_of_one_is_one_slice(self) -> None:
        np.testing.assert_array_equal(frame(siemens(RAMP, 1)), RAMP)


class TestRejected:
    @pytest.mark.parametrize("image_type", [SIEMENS, UNITED, ["mosaic "], "DERIVED\\MOSAIC"])
    @pytest.mark.parametrize("count", [3, 12])
    def test_a_grid_of_unknown_size_is_several_slices_and_no_text(self, image_type: Any, count: int) -> None:
        rejection = rejected(written(mosaic(tiled(HEADS[:count]), image_type)))
        assert rejection.reason is RejectionReason.SEVERAL_SLICES
        assert "no number of slices" in rejection.detail

    @pytest.mark.parametrize("count", [0, 5000, 65535])
    def test_invalid_number_of_slices_is_unknown(self, count: int) -> None:
        assert rejected(siemens(tiled(HEADS), count)).reason is RejectionReason.SEVERAL_SLICES

    @pytest.mark.parametrize(
        "header", [b"", b"SV10", csa_header(4)[:150], csa_header(4, name=b"Other"), b"\xff" * 400, csa_header(-4)]
    )
    def test_a_damaged_header_of_the_vendor_is_no_number(self, header: bytes) -> None:
        assert rejected(siemens_csa(tiled(HEADS), header)).reason is RejectionReason.SEVERAL_SLICES

    def test_an_image_that_does_not_divide_is_named_with_its_numbers(self) -> None:
        rejection = rejected(siemens(tiled(HEADS[:4])[:-1], 4))
        assert rejection.reason is RejectionReason.SEVERAL_SLICES
        assert rejection.detail == "96 x 95 pixels do not divide into the grid of 4 stated slices"

    def test_slices_have_the_size_of_an_image_and_count_as_frames(self) -> None:
        assert rejected(siemens(tiled(HEADS[:4, ::2, ::2]), 4)).reason is RejectionReason.TOO_SMALL
        data = siemens(tiled(HEADS), 12)
        assert rejected(data, Limits(max_frames=11)).reason is RejectionReason.TOO_MANY_FRAMES
