"""Detect text that is drawn over an image, such as a patient's name, without reading the text.

Drawn text is usually in the dark area around the head. A glyph is a small connected component of bright pixels, with
dark pixels above and below it. Four glyphs of similar height, next to each other on one baseline, count as text. The
search does not find single letters such as L and R, text on bright background, or vertical text.
docs/decisions/0025 gives the error rates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.components import Boxes, connected, find_components
from braintumor.imaging.decoding.gray_levels import is_gray

_BRIGHT = 110
"""Least gray level of a glyph. Smoothing halves the gray level of white text that is 10 pixels high."""
_DARK = 56
"""Highest gray level of a dark pixel above or below a glyph. JPEG noise around white text is darker."""
_MOST_LIT = 0.35
"""Largest share of pixels above and below a glyph that may be brighter than ``_DARK``. The dot of an i is brighter."""
_LEAST_HEIGHT = 5
"""Least height of a glyph in pixels. With 4, the search takes anatomy for text in one real image (decision 0025)."""
_LARGEST_PART = 8
"""A glyph is at most as high as the image's height divided by this number."""
_WIDEST = 1.6
"""Greatest width of a glyph divided by its height. The ratio is above 1, because two letters may touch."""
_LEAST_FILL = 0.15
"""Least share of its bounding box that a glyph covers."""
_LEAST_GLYPHS = 4
"""Least number of glyphs in a row of text. With 3, the search takes anatomy for text in 12 images of SARTAJ."""
_LEAST_LENGTH = 1.8
"""Least length of a row of text divided by its height."""
_MOST_GLYPHS = 1_000
"""Largest number of glyphs that the search examines. It starts at the top of the image."""
_MOST_SIDE = 2_048
"""Longest side in pixels of an image that the search examines in full size. It reduces a larger image first."""


def has_burned_in_text(pixels: NDArray[np.uint8]) -> bool:
    """Return whether an image, uint8 (H, W) or (H, W, 3), shows a row of text.

    The search takes about 1 ms for 512 x 512 pixels.
    """
    gray = pixels if is_gray(pixels) else pixels.max(axis=2)
    factor = -(-max(gray.shape) // _MOST_SIDE)
    glyphs = _glyphs(gray if factor == 1 else np.asarray(Image.fromarray(gray).reduce(factor)))
    return len(glyphs) >= _LEAST_GLYPHS and _has_row(glyphs)


def _glyphs(gray: NDArray[np.uint8]) -> Boxes:
    """Return the boxes (N, 4) of the glyphs in an image (H, W), from top to bottom.

    A glyph is a connected component of suitable size and shape on dark background. The result omits glyphs that have
    too few neighbors for a row of text.
    """
    boxes, areas = find_components(gray >= _BRIGHT)
    high, wide = (boxes[:, 2:] - boxes[:, :2]).T
    is_glyph = (high >= _LEAST_HEIGHT) & (high <= gray.shape[0] // _LARGEST_PART) & (wide <= _WIDEST * high)
    is_glyph &= areas >= _LEAST_FILL * high * wide
    examined = boxes[is_glyph][:_MOST_GLYPHS]
    groups = _groups(examined)
    in_row = examined[np.bincount(groups)[groups] >= _LEAST_GLYPHS]  # few glyphs are left for the slow test below
    is_on_dark = np.array([_is_on_dark(gray, *box) for box in in_row.tolist()], np.bool_)
    return np.asarray(in_row[is_on_dark])


def _is_on_dark(gray: NDArray[np.uint8], top: int, left: int, bottom: int, right: int) -> bool:
    far = max(2, (bottom - top) // 6)
    columns = slice(max(0, left - far), right + far)
    above, below = gray[max(0, top - far), columns], gray[min(len(gray), bottom + far) - 1, columns]
    lit = np.count_nonzero(above > _DARK) + np.count_nonzero(below > _DARK)
    return bool(lit <= _MOST_LIT * 2 * len(above))


def _has_row(glyphs: Boxes) -> bool:
    """Return whether four or more glyphs of similar height are next to each other on one line."""
    groups = _groups(glyphs)
    return any(_is_row(glyphs[groups == group]) for group in np.unique(groups))


def _groups(glyphs: Boxes) -> NDArray[np.int32]:
    """Return the group number of each glyph (N,). Glyphs of similar height next to each other are in one group."""
    top, left, bottom, right = glyphs.T
    high = bottom - top
    higher, lower = np.maximum.outer(high, high), np.minimum.outer(high, high)
    gap = np.subtract.outer(left, right).T  # [i, j]: from the right of i to the left of j
    is_next = (np.abs(np.subtract.outer(bottom, bottom)) <= np.maximum(1, 0.15 * higher)) & (lower >= 0.55 * higher)
    is_next &= (gap >= -0.15 * higher) & (gap <= 1.1 * higher)
    np.fill_diagonal(is_next, val=False)
    if np.count_nonzero(is_next) < _LEAST_GLYPHS - 1:  # too few pairs to connect the glyphs of a row
        return np.arange(len(glyphs), dtype=np.int32)
    return connected(is_next)[1]


def _is_row(glyphs: Boxes) -> bool:
    if len(glyphs) < _LEAST_GLYPHS:
        return False
    highest = (glyphs[:, 2] - glyphs[:, 0]).max()
    is_level = np.ptp(glyphs[:, 2]) <= max(2, 0.25 * highest)
    return bool(is_level and glyphs[:, 3].max() - glyphs[:, 1].min() >= _LEAST_LENGTH * highest)
