"""Test that images of several slices are found by their pixels, and images of one head are not."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from braintumor.dataset.images.local_folder import labeled_files
from braintumor.imaging.decoding.contact_sheet import is_contact_sheet
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.model_input import decode_file
from braintumor.imaging.phantom.slice import draw
from braintumor.imaging.phantom.volume import as_enhanced_mr, as_nifti, draw_volume
from braintumor.labels import TumorClass
from tests.decode_results import rejected
from tests.dicom_files import mr_of
from tests.images import jpeg_of, png_of

CLASSES = list(TumorClass)


def sheet(
    rows: int, columns: int, *, size: int = 64, gap: int = 0, ground: int = 0, missing: int = 0
) -> NDArray[np.uint8]:
    """Return slices of one volume in a grid, with gutters and a margin of one gray level. Omit the last ones."""
    count = rows * columns - missing
    slices = draw_volume(CLASSES[rows % 4], seed=columns, slices=count + 4, size=size)[2 : count + 2]
    step = size + gap
    image = np.full((rows * step + gap, columns * step + gap), ground, np.uint8)
    for place in range(rows * columns):
        top, left = gap + place // columns * step, gap + place % columns * step
        image[top : top + size, left : left + size] = slices[place] if place < count else 0
    return image


class TestFound:
    @pytest.mark.parametrize(
        ("rows", "columns"), [(2, 2), (2, 3), (3, 3), (3, 4), (4, 3), (4, 5), (5, 4), (6, 6), (8, 8), (10, 8)]
    )
    @pytest.mark.parametrize(("gap", "ground"), [(0, 0), (8, 0), (6, 128)])
    def test_a_grid_of_slices(self, rows: int, columns: int, gap: int, ground: int) -> None:
        assert is_contact_sheet(sheet(rows, columns, gap=gap, ground=ground))

    @pytest.mark.parametrize("missing", [1, 3])
    def test_a_last_row_that_is_not_full(self, missing: int) -> None:
        assert is_contact_sheet(sheet(4, 4, missing=missing))
        assert is_contact_sheet(sheet(5, 6, missing=missing))

    @pytest.mark.parametrize(("rows", "columns"), [(1, 2), (1, 3), (1, 4), (2, 1), (3, 1)])
    def test_a_strip_of_slices(self, rows: int, columns: int) -> None:
        assert is_contact_sheet(sheet(rows, columns, gap=2))

    @pytest.mark.parametrize("paper", [128, 255])
    def test_a_sheet_on_paper(self, paper: int) -> None:
        assert is_contact_sheet(np.pad(sheet(4, 5), ((90, 40), (60, 120)), constant_values=paper))

    def test_a_sheet_with_color(self) -> None:
        gray = sheet(4, 4)
        assert is_contact_sheet(np.dstack([gray, gray // 2, gray // 4]))


class TestNotFound:
    def test_phantoms_of_every_class_and_size(self) -> None:
        assert not any(is_contact_sheet(draw(CLASSES[seed % 4], seed=seed).pixels) for seed in range(60))
        assert not any(is_contact_sheet(draw(CLASSES[seed % 4], seed=seed, size=64).pixels) for seed in range(20))

    @pytest.mark.parametrize(("high", "wide"), [(0.3, 0.3), (0.0, 0.6), (0.6, 0.0), (0.9, 0.1)])
    def test_one_head_with_much_air_around_it(self, high: float, wide: float) -> None:
        for seed in range(8):
            head = draw(CLASSES[seed % 4], seed=seed).pixels
            margins = int(high * head.shape[0]), int(wide * head.shape[1])
            assert not is_contact_sheet(np.pad(head, [(each, each) for each in margins]))

    def test_noise_ramps_and_plain_ground(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (300, 200), np.uint8)
        ramp = np.add.outer(np.arange(120), np.arange(130)).astype(np.uint8)
        assert not any(map(is_contact_sheet, [noise, ramp, np.full((50, 90), 7, np.uint8)]))

    def test_fewer_than_one_in_two_hundred_real_images(self, real_images: Path) -> None:
        files = random.Random(1).sample(labeled_files(real_images), 400)
        shown = [np.asarray(Image.open(io.BytesIO(file.path.read_bytes())).convert("L")) for file in files]
        assert sum(map(is_contact_sheet, shown)) < len(files) / 200


class TestFiles:
    SHEET = sheet(8, 8)

    @pytest.mark.parametrize("data", [png_of(SHEET), jpeg_of(SHEET), mr_of(SHEET)], ids=["png", "jpeg", "dicom"])
    def test_a_sheet_in_any_format_is_several_slices_and_no_text(self, data: bytes) -> None:
        result = decode_file(data, size=64, limits=Limits(), decode=decode)
        assert isinstance(result, Rejection) and result.reason is RejectionReason.SEVERAL_SLICES
        assert result.detail == "1 of 1 frames show a regular grid of similar tiles"

    def test_pages_of_sheets_are_several_slices(self) -> None:
        pages, buffer = [Image.fromarray(sheet(4, 4)), Image.fromarray(sheet(4, 5))], io.BytesIO()
        pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
        assert rejected(buffer.getvalue()).reason is RejectionReason.SEVERAL_SLICES

    def test_volume_is_not_a_contact_sheet(self) -> None:
        volume = draw_volume(TumorClass.GLIOMA, seed=7, slices=12, size=64)
        for data in (as_nifti(volume), as_enhanced_mr(volume, seed=1)):
            assert isinstance(decode(data), Decoded)
