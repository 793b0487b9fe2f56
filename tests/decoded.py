"""Return the single frame of a file, or its rejection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Decoded, Limits


def frame(data: bytes, limits: Limits | None = None) -> NDArray[np.uint8]:
    decoded = decode(data, limits=limits)
    assert isinstance(decoded, Decoded), decoded
    (only,) = decoded.frames
    assert only.index == 0 and only.pixels.dtype == np.uint8
    return only.pixels


def rejected(data: bytes, limits: Limits | None = None) -> Rejection:
    result = decode(data, limits=limits)
    assert isinstance(result, Rejection), result
    assert result.detail
    return result
