"""The resize of an image is the same on every run."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from braintumor.imaging.letterbox import PREPROCESSING, letterbox


def test_letterboxed_pixels_match_the_recorded_digest() -> None:
    """Where this fails the resize has changed: give ``PREPROCESSING`` a new name with it."""
    image = np.random.default_rng(0).integers(0, 256, (301, 203), dtype=np.uint8)
    digest = sha256(letterbox(image, size=224).tobytes()).hexdigest()[:16]
    assert (PREPROCESSING, digest) == ("letterbox-bilinear-2", "5202abe7299010b9")


def test_read_only_and_strided_pixels_are_resized() -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 100), dtype=np.uint8)
    frozen = image.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(letterbox(frozen, size=64), letterbox(image, size=64))
    np.testing.assert_array_equal(letterbox(image[::-1], size=64), letterbox(image[::-1].copy(), size=64))
