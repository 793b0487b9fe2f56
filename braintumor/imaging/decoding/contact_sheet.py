"""Find images whose pixels show several slices in a grid or a strip, such as film sheets and exported mosaics.

Every tile is similar to its neighbor, so the image correlates with itself after a shift by one tile. The correlation of
a single head falls with the shift and does not rise again. Lines of one gray level, of air or gutters, separate the
tiles. docs/decisions/0035 gives the error rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.gray_levels import is_gray

_SIDE = 128
"""Pixels per side of the reduced image. A tile of a sheet of 12 x 12 keeps 10 pixels."""
_LEAST_SHIFT = 8
"""Least shift in pixels of the reduced image. Shorter shifts match the texture of an image, not its tiles."""
_LEAST_GAIN, _LEAST_GAIN_ALONE, _LEAST_GAIN_SUM, _LEAST_GAIN_STRIP = 0.1, 0.2, 0.9, 0.35
"""Least gains (see ``_Repetition``) of a contact sheet.

The first applies to each axis of a grid with lines between its tiles. The second applies to each axis of a grid without
lines, the third to the sum of its two gains. The fourth applies to a strip. Of 3,264 real images of one head, no image
has a gain above 0.27 on both axes.
"""
_MOST_SPREAD, _MOST_SPREAD_STRIP = 0.45, 0.3
"""Greatest spread (see ``_Repetition``) of the lines between tiles, first in a grid, then in a strip.

An image of one head with gains on both axes has a spread of 0.59 or more.
"""
_MOST_RANGE = 24
"""Greatest difference of gray levels within a row or column that counts as margin."""
_LEAST_BRIGHT = 64
"""Least gray level of a margin's darkest pixel. The dark air around a head is no margin."""
_LONGEST_TILE = 1.5
"""Least ratio of a strip's length to its width, and largest ratio of a tile's length to its width."""


@dataclass(frozen=True, kw_only=True)
class _Repetition:
    """The repetition of an image along one axis.

    Attributes:
        gain: rise of the autocorrelation from its minimum to the best shift, 0 to 2.
        shift: best shift as a share of the image's length along the axis.
        spread: standard deviation of the pixels on lines one shift apart, divided by that of the image.
    """

    gain: float
    shift: float
    spread: float


def is_contact_sheet(pixels: NDArray[np.uint8]) -> bool:
    """Return whether an image, uint8 (H, W) or (H, W, 3), shows a regular grid or strip of similar tiles."""
    gray = _without_margins(pixels if is_gray(pixels) else pixels.max(axis=2))
    height, width = gray.shape
    reduced = Image.fromarray(gray).resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1)
    small = np.asarray(reduced, np.float64)
    across = _repetition(small)
    if across.gain < _LEAST_GAIN and height / width < _LONGEST_TILE:  # neither a grid nor a strip
        return False
    down = _repetition(small.T)
    return _is_grid(across, down) or _is_strip(across, width / height) or _is_strip(down, height / width)


def _without_margins(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image without bright margins of one gray level, because a paper margin would hide the repetition."""
    for _ in range(2):  # once for the rows, once for the columns
        filled = np.flatnonzero((np.ptp(gray, axis=1) > _MOST_RANGE) | (gray.min(axis=1) < _LEAST_BRIGHT))
        gray = (gray[filled[0] : filled[-1] + 1] if filled.size else gray).T
    return gray


def _is_grid(across: _Repetition, down: _Repetition) -> bool:
    least = min(across.gain, down.gain)
    if least >= _LEAST_GAIN_ALONE and across.gain + down.gain >= _LEAST_GAIN_SUM:
        return True
    return least >= _LEAST_GAIN and max(across.spread, down.spread) <= _MOST_SPREAD


def _is_strip(along: _Repetition, elongation: float) -> bool:
    """Return whether nearly square tiles form one row.

    ``elongation`` is the length along the row divided by the width.
    """
    if elongation < _LONGEST_TILE or along.gain < _LEAST_GAIN_STRIP or along.spread > _MOST_SPREAD_STRIP:
        return False
    return 1 / _LONGEST_TILE <= along.shift * elongation <= _LONGEST_TILE


def _repetition(image: NDArray[np.float64]) -> _Repetition:
    """Return the repetition along the rows, at the shift with the highest rise of the autocorrelation."""
    correlation = _autocorrelation(image - image.mean())
    gains = correlation - np.minimum.accumulate(correlation)
    shift = int(np.argmax(gains[_LEAST_SHIFT:])) + _LEAST_SHIFT
    gain = float(gains[shift])
    if gain < _LEAST_GAIN:
        return _Repetition(gain=gain, shift=0, spread=np.inf)
    spread = image.std(axis=0) / image.std()
    lowest = min(float(spread[start::shift].max()) for start in range(shift))
    return _Repetition(gain=gain, shift=shift / image.shape[1], spread=lowest)


def _autocorrelation(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the image's correlation with itself along its rows, at shifts from 0 to just above half its width."""
    width = image.shape[1]
    shifts = np.arange(width // 2 + 3)
    spectrum = np.fft.rfft(image, 2 * width, axis=1)  # twice the width, so that the shift does not wrap around
    products = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=0), 2 * width)[shifts]
    energy = np.concatenate([[0.0], np.cumsum((image**2).sum(axis=0))])
    left, right = energy[width - shifts], energy[-1] - energy[shifts]
    return np.asarray(products / np.sqrt(np.maximum(left * right, 1e-9)), np.float64)
