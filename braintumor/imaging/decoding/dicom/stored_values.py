"""Convert a DICOM object's decoded samples to the values that its header describes: bits, sign, padding and color."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.dicom.values import integer_of

_MIDDLE = 0.5
"""Value of chroma in a pixel without color, as a share of white."""
_NEAR = 0.03
"""Share of white within which samples count as equal, because lossy compression moves samples."""
_LEAST_NEUTRAL = 0.2
"""Least share of pixels without color that determines the color space. Scans have little color."""
_SAMPLED_SIDE = 256
"""Pixels per side that are sampled to determine the color space."""


def decode_jpeg(frames: Iterator[bytes], *, is_color: bool) -> Iterator[NDArray[Any]]:
    """Yield the samples of frames in lossy or lossless JPEG of 2 to 16 bits, without conversion of the color space."""
    from imagecodecs import jpeg8_decode  # imported here because few objects need it

    space = "RGB" if is_color else None  # libjpeg does not convert between two equal color spaces
    for frame in frames:
        yield jpeg8_decode(frame, colorspace=space, outcolorspace=space)


def keep_stored_bits(values: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Return values with only the ``BitsStored`` bits up to ``HighBit`` (PS3.5 8.1.1), and with their sign.

    The other bits may contain overlays.
    """
    size = values.dtype.itemsize
    allocated, bits, high = size * 8, int(dataset.BitsStored), int(dataset.HighBit)
    raw = values.astype(f"{'i' if dataset.PixelRepresentation else 'u'}{size}", copy=False)
    if bits >= allocated:
        return raw
    if high >= bits and _ends_at_bit_0(raw.view(f"u{size}"), bits, high):
        high = bits - 1
    return (raw << (allocated - 1 - high)) >> (allocated - bits)


def is_ybr(color: NDArray[Any], photometric: str, bits: int) -> bool:
    """Return whether samples (H, W, 3) of ``bits`` bits are YCbCr and not RGB, judged by the gray pixels.

    The three samples of a gray pixel are equal in RGB. In YCbCr, the second and third sample are half of white. If
    there are few gray pixels, the header's ``photometric`` decides.
    """
    step = max(max(color.shape) // _SAMPLED_SIDE, 1)
    samples = color[::step, ::step].astype(np.float32) / (2**bits - 1)
    first, others = samples[..., :1], samples[..., 1:]
    is_middle = np.abs(first[..., 0] - _MIDDLE) <= _NEAR  # equal samples of this value fit both color spaces
    as_ybr = float(((np.abs(others - _MIDDLE) <= _NEAR).all(axis=2) & ~is_middle).mean())
    as_rgb = float(((np.abs(others - first) <= _NEAR).all(axis=2) & ~is_middle).mean())
    if max(as_ybr, as_rgb) < _LEAST_NEUTRAL:
        return photometric.startswith("YBR_FULL")
    return as_ybr > as_rgb


def is_padding(stored: NDArray[Any], dataset: Any) -> NDArray[np.bool_]:
    """Return the mask of padding values (PS3.3 C.7.5.1.1.2).

    A padding value that covers all pixels is an error and ignored.
    """
    first = integer_of(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, np.bool_)
    last = integer_of(dataset, "PixelPaddingRangeLimit")
    ends = [_with_sign(end, dataset) for end in (first, first if last is None else last)]
    mask = np.asarray((stored >= min(ends)) & (stored <= max(ends)), np.bool_)
    return mask & ~mask.all()


def _ends_at_bit_0(values: NDArray[Any], bits: int, high: int) -> bool:
    """Return whether values use only the lowest ``bits`` bits.

    The header (HighBit) says that the highest used bit is bit ``high``. If this returns true, the header is wrong.
    """
    return bool((values >> bits == 0).all() and (values & (2 ** (high + 1 - bits) - 1)).any())


def _with_sign(value: int, dataset: Any) -> int:
    """Convert a padding value to signed or unsigned as the pixels are, because some writers confuse the two."""
    span = 2 ** int(dataset.BitsAllocated)
    value %= span
    return value - span if dataset.PixelRepresentation and value >= span // 2 else value
