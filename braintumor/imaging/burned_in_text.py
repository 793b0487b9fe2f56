"""Text laid over an image, where it can be found without reading it: rows of bright glyphs on dark ground.

A name stands in the dark around the head. A glyph is a small connected spot with dark above and below it; four of like
height on one baseline, next to each other, are text. Single letters (the L and R of sides) are not, nor is text on
bright ground or upright. How often it is right: docs/decisions/0025.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.decoding.gray_levels import is_gray

Boxes = NDArray[np.int64]
"""(N, 4): top, left, bottom, right, the last two exclusive."""

_BRIGHT = 110
"""Gray level of a glyph. White text of 10 pixels loses half of its white to smoothing."""
_DARK = 56
"""Gray level up to which ground is dark; the noise of JPEG about white text stays below."""
_MOST_LIT = 0.35
"""Share of the pixels above and below a glyph that may be brighter: the dot of an i."""
_LEAST_HEIGHT = 5
"""Pixels. With 4, one image of 3,029 real ones without text had some."""
_LARGEST_PART = 8
"""A glyph is at most this part of the image's height."""
_WIDEST = 1.6
"""Width of a glyph over its height: two letters that touch."""
_LEAST_FILL = 0.15
"""Share of its box that a glyph covers."""
_LEAST_GLYPHS = 4
"""In a row. With 3, 12 of 3,029 real images without text had some."""
_LEAST_LENGTH = 1.8
"""Length of a row over its height."""
_MOST_GLYPHS = 1_000
"""That are looked at, from the top."""
_MOST_SIDE = 2_048
"""Pixels; a larger image is reduced first."""


def has_burned_in_text(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image, uint8 (H, W) or (H, W, 3), shows a row of text. A millisecond for 512 x 512 pixels."""
    gray = _reduced(pixels if is_gray(pixels) else pixels.max(axis=2))
    glyphs = _glyphs(gray)
    return len(glyphs) >= _LEAST_GLYPHS and _has_row(glyphs)


def _reduced(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = -(-max(gray.shape) // _MOST_SIDE)
    return gray if factor == 1 else np.asarray(Image.fromarray(gray).reduce(factor))


def _glyphs(gray: NDArray[np.uint8]) -> Boxes:
    """Spots of a glyph's size and shape on dark ground."""
    boxes, areas = _spots(gray >= _BRIGHT)
    high, wide = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    is_glyph = (high >= _LEAST_HEIGHT) & (high <= gray.shape[0] // _LARGEST_PART)
    is_glyph &= (wide <= _WIDEST * high) & (areas >= _LEAST_FILL * high * wide)
    found: Boxes = boxes[is_glyph][:_MOST_GLYPHS]
    is_on_dark: list[bool] = [_is_on_dark(gray, *box) for box in found.tolist()]
    return np.compress(is_on_dark, found, axis=0)


def _is_on_dark(gray: NDArray[np.uint8], top: int, left: int, bottom: int, right: int) -> bool:
    far = max(2, (bottom - top) // 6)
    columns = slice(max(0, left - far), right + far)
    above, below = gray[max(0, top - far), columns], gray[min(len(gray), bottom + far) - 1, columns]
    lit = np.count_nonzero(above > _DARK) + np.count_nonzero(below > _DARK)
    return bool(lit <= _MOST_LIT * 2 * len(above))


def _has_row(glyphs: Boxes) -> bool:
    """Whether four or more of like height stand next to each other on one line."""
    top, left, bottom, right = glyphs.T
    high = bottom - top
    higher, lower = np.maximum.outer(high, high), np.minimum.outer(high, high)
    gap = np.subtract.outer(left, right).T  # [i, j]: from the right of i to the left of j
    is_next = (np.abs(np.subtract.outer(bottom, bottom)) <= np.maximum(1, 0.15 * higher)) & (lower >= 0.55 * higher)
    is_next &= (gap >= -0.15 * higher) & (gap <= 1.1 * higher)
    np.fill_diagonal(is_next, val=False)
    rows = _joined(len(glyphs), *np.nonzero(is_next))
    return any(_is_row(glyphs[rows == row]) for row in np.unique(rows))


def _is_row(glyphs: Boxes) -> bool:
    if len(glyphs) < _LEAST_GLYPHS:
        return False
    highest = (glyphs[:, 2] - glyphs[:, 0]).max()
    is_level = np.ptp(glyphs[:, 2]) <= max(2, 0.25 * highest)
    return bool(is_level and glyphs[:, 3].max() - glyphs[:, 1].min() >= _LEAST_LENGTH * highest)


def _spots(mask: NDArray[np.bool_]) -> tuple[Boxes, NDArray[np.int64]]:
    """The connected spots of a mask (H, W), corners touching: their boxes and areas, from the top."""
    height, width = mask.shape
    padded = np.zeros((height, width + 3), bool)  # between two rows' runs there is always a gap
    padded[:, 1:-2] = mask
    flat = padded.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start, end = edges[0::2], edges[1::2]  # of each horizontal run
    first = np.searchsorted(end, start - padded.shape[1])  # runs of the row above that touch it: from first ...
    count = np.maximum(np.searchsorted(start, end - padded.shape[1], side="right") - first, 0)
    run = np.repeat(np.arange(len(start)), count)
    above = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    names, spot = np.unique(_joined(len(start), run, above), return_inverse=True)
    row, left = np.divmod(start, padded.shape[1])
    boxes = np.empty((len(names), 4), np.int64)
    boxes[:] = height, width, 0, 0
    areas = np.zeros(len(names), np.int64)
    np.minimum.at(boxes[:, 0], spot, row)
    np.minimum.at(boxes[:, 1], spot, left - 1)
    np.maximum.at(boxes[:, 2], spot, row + 1)
    np.maximum.at(boxes[:, 3], spot, left - 1 + end - start)
    np.add.at(areas, spot, end - start)
    return boxes, areas


def _joined(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of ``count`` things the least that it is joined to, by way of others, by pairs (one, other)."""
    least = np.arange(count)
    while True:
        lower = np.minimum(least[one], least[other])
        found = least.copy()
        np.minimum.at(found, least[one], lower)
        np.minimum.at(found, least[other], lower)
        while not np.array_equal(found, found[found]):
            found = found[found]
        if np.array_equal(found[least], least):
            return least
        least = found[least]
