"""Measure an image's color and border, to tell photographs from MRI slices, and make the image's thumbnail.

An MRI slice is gray, and its border is dark air. A size of 64 x 64 pixels is enough to measure color and border.
Darkness is relative to the image's own gray range, because air is not black in every export. The measurements detect
photographs, drawings and screenshots. They do not detect a gray X-ray or CT slice on black. The measured values are in
docs/decisions/0012.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.letterbox import letterbox

SIDE = 64
"""Side of the thumbnail in pixels."""

MAX_COLORED = 0.08
"""Largest allowed share of colored pixels. It allows a colored mark on a slice, but not a photograph."""
MIN_DARK_BORDER = 0.30
"""Smallest share of the border that must be dark. docs/decisions/0012 lists the tested values."""

_COLORED = 16
"""A pixel is colored if its channels differ by more than this, of 255. JPEG makes smaller differences in gray."""
_DARK = 0.10
"""A pixel is dark below this value. On its scale, the image's 1st percentile of gray is 0 and the 99th is 1."""
_BORDER = 3
"""Width of the border, in pixels of the 64 x 64 image."""


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """The thumbnail and measurements of an image.

    Attributes:
        thumbnail: 4,096 bytes: the letterboxed gray image as uint8 (64, 64), row by row.
        colored: share of colored pixels in the image, 0 to 1.
        dark_border: share of dark pixels in the border, 0 to 1. It is measured without the margins of the letterbox.
    """

    thumbnail: bytes = field(repr=False)
    colored: float
    dark_border: float

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Return the thumbnail as a gray array uint8 (64, 64)."""
        return np.frombuffer(self.thumbnail, np.uint8).reshape(SIDE, SIDE)

    @property
    def why_not_mri(self) -> str | None:
        """Return the reason that the image does not look like an MRI slice, or ``None`` if it looks like one."""
        if self.colored > MAX_COLORED:
            return "in color"
        return "no dark background" if self.dark_border < MIN_DARK_BORDER else None


def image_stats(pixels: NDArray[np.uint8]) -> ImageStats:
    """Return the thumbnail and measurements of an image, uint8 (H, W) or (H, W, 3)."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("RGB")
    return ImageStats(
        thumbnail=Image.fromarray(letterbox(pixels, size=SIDE)).convert("L").tobytes(),
        colored=float(np.mean(np.ptp(np.asarray(small), axis=2) > _COLORED)),
        dark_border=_dark_border(np.asarray(small.convert("L"), np.float64)),
    )


def _dark_border(gray: NDArray[np.float64]) -> float:
    low, high = np.percentile(gray, (1, 99))
    is_border = np.ones(gray.shape, np.bool_)
    is_border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    return float(np.mean(gray[is_border] - low < _DARK * (high - low)))
