"""Test the detection of photographs, with real ones, and that slices of all kinds pass."""

from __future__ import annotations

import numpy as np
import pytest

from braintumor.dataset.images.image_stats import SIDE, image_stats
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES, TumorClass
from tests.photographs import PHOTOGRAPHS, crops


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("size", [96, 256])
def test_every_phantom_looks_like_mri(label: TumorClass, size: int) -> None:
    assert {image_stats(draw(label, seed=seed, size=size).pixels).why_not_mri for seed in range(20)} == {None}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_color_photograph_does_not_look_like_mri(name: str) -> None:
    reasons = {image_stats(part).why_not_mri for part in crops(name, 100, is_gray=False)}
    assert reasons == {"in color"}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_four_of_five_gray_photographs_do_not_look_like_mri(name: str) -> None:
    reasons = [image_stats(part).why_not_mri for part in crops(name, 100, is_gray=True)]
    assert set(reasons) <= {"no dark background", None}
    assert reasons.count(None) <= 20


def test_slice_with_colored_mark_or_gray_air_looks_like_mri() -> None:
    slice_ = draw(TumorClass.GLIOMA, seed=1, size=256).pixels
    marked = np.repeat(slice_[..., None], 3, axis=2)
    marked[:8, :24] = (255, 0, 0)
    assert image_stats(marked).colored > 0
    assert image_stats(marked).why_not_mri is None
    assert image_stats((60 + slice_ * 0.7).astype(np.uint8)).why_not_mri is None


def test_letterbox_does_not_count_as_dark_border() -> None:
    (part,) = crops("china.jpg", 1, is_gray=True)
    assert image_stats(part[:40]).why_not_mri == "no dark background"


def test_thumbnail_is_letterboxed() -> None:
    wide = np.full((50, 200), 90, np.uint8)
    thumbnail = image_stats(wide).pixels
    assert thumbnail.shape == (SIDE, SIDE)
    assert (thumbnail[SIDE // 2] == 90).all() and not thumbnail[0].any()
