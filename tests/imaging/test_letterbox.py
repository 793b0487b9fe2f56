"""Test the resize of frames to the model's input size."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from braintumor.imaging.letterbox import PREPROCESSING, letterbox


def test_letterboxed_pixels_match_the_recorded_digest() -> None:
    """If this fails, the resize has changed and ``PREPROCESSING`` needs a new name."""
    image = np.random.default_rng(0).integers(0, 256, (301, 203), dtype=np.uint8)
    digest = sha256(letterbox(image, size=224).tobytes()).hexdigest()[:16]
    assert (PREPROCESSING, digest) == ("letterbox-bilinear-2", "5202abe7299010b9")


def test_read_only_and_strided_pixels_are_resized() -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 100), dtype=np.uint8)
    frozen = image.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(letterbox(frozen, size=64), letterbox(image, size=64))
    np.testing.assert_array_equal(letterbox(image[::-1], size=64), letterbox(image[::-1].copy(), size=64))


@pytest.mark.parametrize(("shape", "filled"), [((100, 200), (32, 64)), ((200, 100), (64, 32)), ((90, 90), (64, 64))])
def test_letterbox_keeps_proportions_and_centers(shape: tuple[int, int], filled: tuple[int, int]) -> None:
    square = letterbox(np.full(shape, 200, np.uint8), size=64)
    assert square.shape == (64, 64, 3)
    rows, columns = np.flatnonzero(square.any(axis=(1, 2))), np.flatnonzero(square.any(axis=(0, 2)))
    assert (len(rows), len(columns)) == filled
    assert abs(rows[0] - (63 - rows[-1])) <= 1 and abs(columns[0] - (63 - columns[-1])) <= 1


def test_gray_is_repeated_and_color_is_kept() -> None:
    gray = np.random.default_rng(0).integers(0, 255, (80, 80), dtype=np.uint8)
    assert (letterbox(gray, size=64)[..., 0] == letterbox(gray, size=64)[..., 2]).all()
    np.testing.assert_array_equal(letterbox(np.repeat(gray[..., None], 3, axis=2), size=64), letterbox(gray, size=64))


def test_an_extremely_narrow_image_still_becomes_a_square() -> None:
    assert letterbox(np.full((2000, 1), 9, np.uint8), size=64).shape == (64, 64, 3)


def test_a_large_image_is_averaged_not_sampled() -> None:
    checkers = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(letterbox(checkers, size=64).astype(int) - 128).max() < 10


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 3000), (3000, 3), (32, 20_000)])
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "color"])
def test_elongated_images_show_as_a_line_in_the_middle(shape: tuple[int, int], channels: tuple[int, ...]) -> None:
    square = letterbox(np.full((*shape, *channels), 200, np.uint8), size=64)
    rows, columns = np.flatnonzero(square.any(axis=(1, 2))), np.flatnonzero(square.any(axis=(0, 2)))
    assert square.shape == (64, 64, 3) and square.dtype == np.uint8
    assert max(len(rows), len(columns)) == 64
    assert set(np.unique(square)) <= {0, 200}  # black next to the image never mixes with it
    assert abs(rows.mean() - 31.5) <= 0.5 and abs(columns.mean() - 31.5) <= 0.5


def test_letterbox_is_deterministic_and_keeps_its_input() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (120, 75), dtype=np.uint8)
    before = pixels.copy()
    first = letterbox(pixels, size=96)
    np.testing.assert_array_equal(letterbox(np.asfortranarray(pixels), size=96), first)
    np.testing.assert_array_equal(letterbox(np.dstack([pixels] * 3), size=96), first)
    np.testing.assert_array_equal(pixels, before)


def test_a_circle_stays_a_circle() -> None:
    y, x = np.indices((300, 500))
    circle = (np.hypot(y - 150, x - 250) < 100).astype(np.uint8) * np.uint8(255)
    shown = letterbox(circle, size=100)[..., 0] > 127
    assert abs(int(shown.any(axis=0).sum()) - int(shown.any(axis=1).sum())) <= 1


def test_image_of_the_models_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(letterbox(pixels, size=64), pixels)
