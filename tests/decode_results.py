"""Return what a file decodes to: its frames, its single frame, or its rejection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Decoded, Limits


def decoded(data: bytes, limits: Limits | None = None) -> Decoded:
    result = decode(data, limits=limits)
    assert isinstance(result, Decoded), result
    return result


def frame(data: bytes, limits: Limits | None = None) -> NDArray[np.uint8]:
    (only,) = decoded(data, limits).frames
    assert only.index == 0 and only.pixels.dtype == np.uint8
    return only.pixels


def rejected(data: bytes, limits: Limits | None = None) -> Rejection:
    result = decode(data, limits=limits)
    assert isinstance(result, Rejection), result
    assert result.detail
    return result
