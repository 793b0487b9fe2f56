"""Labelled images as the library reads them, made from pixels."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from braintumor.dataset.appearance import appearance_of
from braintumor.dataset.fingerprint import perceptual_hashes
from braintumor.dataset.image import LabelledImage
from braintumor.labels import TumorClass


def labelled_image(
    pixels: np.ndarray, name: str, label: TumorClass, *, patient: frozenset[str] = frozenset()
) -> LabelledImage:
    """An image that lies at ``name``."""
    return LabelledImage(
        image_sha256=sha256(name.encode()).hexdigest(),
        pixel_sha256=sha256(pixels.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hashes(pixels).tobytes(),
        label=label,
        image_uri=name,
        attributes={},
        appearance=appearance_of(pixels),
        patient=patient,
    )
