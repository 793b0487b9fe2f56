"""Real images, where a developer has some: BRAINTUMOR_DEMO_DATASET names a labeled folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from braintumor.dataset.images.local_folder import labeled_files, read_folder
from braintumor.dataset.quality.checks import not_mri
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.labels import CLASSES
from tests.conftest import NO_DATASET

_EVERY = 25


def test_fewer_than_one_in_a_hundred_real_images_do_not_look_like_mri() -> None:
    folder = os.environ.get("BRAINTUMOR_DEMO_DATASET")
    if not folder:
        pytest.skip(NO_DATASET)
    images, _ = read_folder(Path(folder))
    assert len(not_mri(images)) < len(images) / 100


def test_a_labeled_folder_of_real_images_is_understood_and_decodes() -> None:
    folder = os.environ.get("BRAINTUMOR_DEMO_DATASET")
    if not folder:
        pytest.skip(NO_DATASET)
    files = labeled_files(Path(folder))
    assert set(Counter(file.label for file in files)) == set(CLASSES)
    for file in files[::_EVERY]:
        decoded = decode(file.path.read_bytes())
        assert isinstance(decoded, Decoded), f"{file.path}: {decoded}"
