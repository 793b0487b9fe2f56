"""Test with real images, if BRAINTUMOR_DEMO_DATASET names a labeled folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from braintumor.dataset.images.local_folder import labeled_files, read_folder
from braintumor.dataset.quality.checks import not_mri
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.labels import CLASSES

_EVERY = 25


def test_under_one_percent_of_real_images_do_not_look_like_mri(real_images: Path) -> None:
    images, _ = read_folder(real_images)
    assert len(not_mri(images)) < len(images) / 100


def test_labeled_folder_of_real_images_decodes(real_images: Path) -> None:
    files = labeled_files(real_images)
    assert set(Counter(file.label for file in files)) == set(CLASSES)
    for file in files[::_EVERY]:
        decoded = decode(file.path.read_bytes())
        assert isinstance(decoded, Decoded), f"{file.path}: {decoded}"
