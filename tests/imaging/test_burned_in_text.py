"""Text that is drawn over an image is found, and anatomy is not taken for it."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from braintumor.dataset.images.local_folder import labeled_files
from braintumor.imaging.burned_in_text import has_burned_in_text
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Decoded, Limits
from braintumor.imaging.model_input import decode_file
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from tests.conftest import NO_DATASET

NAMES = ["DOE^JANE", "Mueller, Anna", "SMITH JOHN 12.03.1961", "Li Wei", "ID 4711-0815"]


def head(number: int, side: int = 512) -> Image.Image:
    return Image.fromarray(draw(CLASSES[number % 4], seed=number).pixels).convert("RGB").resize((side, side))


def written(
    image: Image.Image, text: str, size: int, *, place: tuple[int, int] = (6, 6), color: str = "white"
) -> bytes:
    ImageDraw.Draw(image).text(place, text, fill=color, font=ImageFont.load_default(size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def found(data: bytes) -> bool:
    decoded = decode(data)
    assert isinstance(decoded, Decoded)
    return has_burned_in_text(decoded.frames[0].pixels)


@pytest.mark.parametrize("size", [12, 16, 24, 32])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_corner_is_found(name: str, size: int) -> None:
    side = 512
    length = ImageFont.load_default(size).getlength(name)
    right = int(side - length - 8)
    places = [(6, 4), (right, 4), (6, side - 2 * size), (right, side - 2 * size)]
    assert all(found(written(head(number), name, size, place=place)) for number, place in enumerate(places))


@pytest.mark.parametrize("color", ["yellow", "cyan", "#aaaaaa"])
def test_text_is_found_whatever_its_color(color: str) -> None:
    assert found(written(head(1), "Jane Doe", 16, color=color))


def test_text_is_found_on_a_large_picture_too() -> None:
    assert found(written(head(1, side=4000), "Jane Doe", 120))


def test_phantoms_and_marks_of_sides_have_none() -> None:
    assert not any(has_burned_in_text(draw(CLASSES[number % 4], seed=number).pixels) for number in range(60))
    assert not any(found(written(head(number), "R", 24)) for number in range(4))


def test_noise_has_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000), np.uint8)
    assert not has_burned_in_text(noise)


def test_a_file_with_a_name_on_it_is_set_aside_and_says_nothing_of_the_name() -> None:
    rejected = decode_file(written(head(1), "Jane Doe", 16), size=64, limits=Limits(), decode=decode)
    assert isinstance(rejected, Rejection)
    assert rejected.reason is RejectionReason.OVERLAID_TEXT
    assert "Doe" not in rejected.detail


def test_fewer_than_one_in_two_hundred_real_images_are_taken_for_text() -> None:
    folder = os.environ.get("BRAINTUMOR_DEMO_DATASET")
    if not folder:
        pytest.skip(NO_DATASET)
    files = random.Random(0).sample(labeled_files(Path(folder)), 400)
    assert sum(found(file.path.read_bytes()) for file in files) < len(files) / 200
