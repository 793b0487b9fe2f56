"""Test that text drawn over an image is found, and anatomy is not."""

from __future__ import annotations

import io
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


def shows_text(data: bytes) -> bool:
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
    assert all(shows_text(written(head(number), name, size, place=place)) for number, place in enumerate(places))


@pytest.mark.parametrize("color", ["yellow", "cyan", "#aaaaaa"])
def test_text_of_any_color_is_found(color: str) -> None:
    assert shows_text(written(head(1), "Jane Doe", 16, color=color))


def test_text_on_a_large_image_is_found() -> None:
    assert shows_text(written(head(1, side=4000), "Jane Doe", 120))


def test_phantoms_and_side_marks_have_no_text() -> None:
    assert not any(has_burned_in_text(draw(CLASSES[number % 4], seed=number).pixels) for number in range(60))
    assert not any(shows_text(written(head(number), "R", 24)) for number in range(4))


def test_noise_has_no_text() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000), np.uint8)
    assert not has_burned_in_text(noise)


def test_file_with_drawn_name_is_rejected_without_quoting_it() -> None:
    rejected = decode_file(written(head(1), "Jane Doe", 16), size=64, limits=Limits(), decode=decode)
    assert isinstance(rejected, Rejection)
    assert rejected.reason is RejectionReason.OVERLAID_TEXT
    assert "Doe" not in rejected.detail


def test_under_one_in_200_real_images_is_rejected_as_text(real_images: Path) -> None:
    files = random.Random(0).sample(labeled_files(real_images), 400)
    assert sum(shows_text(file.path.read_bytes()) for file in files) < len(files) / 200
