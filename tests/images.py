"""Create image files and labeled images from pixels and phantoms."""

from __future__ import annotations

import io
import zlib
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.dataset.images.image_stats import image_stats
from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.images.perceptual_hash import perceptual_hashes
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import TumorClass


def labeled_image(
    pixels: np.ndarray, name: str, label: TumorClass, *, patient: frozenset[str] = frozenset()
) -> LabeledImage:
    """Return a labeled image whose URI is ``name``."""
    return LabeledImage(
        image_sha256=sha256(name.encode()).hexdigest(),
        pixel_sha256=sha256(pixels.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hashes(pixels).tobytes(),
        label=label,
        image_uri=name,
        attributes={},
        appearance=image_stats(pixels),
        patient=patient,
    )


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(pixels: NDArray[Any], **options: Any) -> bytes:
    """Return pixels as a PNG."""
    return saved(Image.fromarray(pixels), **options)


def jpeg_of(pixels: NDArray[Any], **options: Any) -> bytes:
    """Return pixels as a JPEG of quality 95."""
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


@cache
def png(label: TumorClass = TumorClass.GLIOMA, *, seed: int = 5) -> bytes:
    """Return a phantom as a PNG."""
    return png_of(draw(label, seed=seed).pixels)


def png_chunk(kind: bytes, body: bytes, *, is_whole: bool = True) -> bytes:
    """Return a chunk of a PNG, with a wrong checksum unless ``is_whole``."""
    checksum = zlib.crc32(kind + body) ^ (not is_whole)
    return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")
