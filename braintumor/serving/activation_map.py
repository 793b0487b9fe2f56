"""Encode, decode and enlarge class activation maps.

The database stores a map (h, h) as little-endian float16, row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.errors import EvaluationError


def decode_map(stored: bytes | memoryview) -> NDArray[np.float16]:
    """Return the map float16 (h, h) from the bytes that the database stores."""
    values = np.frombuffer(stored, dtype="<f2").astype(np.float16)
    side = round(len(values) ** 0.5)
    return values.reshape(side, side)


def upsample(activation_map: NDArray[np.floating], *, height: int, width: int) -> NDArray[np.float32]:
    """Return a map (h, w), enlarged bilinearly to (height, width), with values from 0 to 1. A constant map becomes 0.

    Raises ``EvaluationError`` if the map is not two-dimensional or not finite.
    """
    values = np.asarray(activation_map, dtype=np.float32)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():  # noqa: PLR2004
        raise EvaluationError(
            "An activation map must be finite numbers of shape (h, w). "
            f"Received: shape {values.shape}, finite: {bool(np.isfinite(values).all())}. Pass one class of one frame."
        )
    large = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))  # (height, width)
    span = float(large.max() - large.min())
    scaled = (large - large.min()) / span if span > 0 else np.zeros_like(large)
    return scaled.astype(np.float32)
