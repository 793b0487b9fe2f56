"""What an image looks like, measured while it is read: enough to tell a photograph from an MRI slice, and to show it.

An MRI slice is gray, and the head lies on dark air. Both are cheap to see in 64 x 64 pixels. What is dark is measured
against the image's own range, because air is not black in every export. This finds photographs, drawings and
screenshots; a gray X-ray or CT slice on black looks the same and passes. Measured in docs/decisions/0012.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.letterbox import letterbox

SIDE = 64
"""Of the thumbnail, in pixels."""

MOST_COLORED = 0.08
"""Share of the image that may be colored: a mark that somebody drew on a slice, no photograph."""
LEAST_DARK_BORDER = 0.30
"""Share of the border that must be dark; see docs/decisions/0012 for what was tried."""

_COLORED = 16
"""A pixel whose channels differ by more, of 255, is colored: less is what JPEG does to gray."""
_DARK = 0.10
"""Up to here, from the 1st to the 99th percentile of an image's gray, is dark."""
_BORDER = 3
"""Width of the border in pixels of 64."""


@dataclass(frozen=True, kw_only=True)
class ImageStats:
    """How an image looks.

    Attributes:
        thumbnail: gray (64, 64) uint8, letterboxed, row by row.
        colored: share of the image that is colored, 0 to 1.
        dark_border: share of the border that is dark, 0 to 1, of the image without any letterbox.
    """

    thumbnail: bytes = field(repr=False)
    colored: float
    dark_border: float

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The thumbnail as uint8 (64, 64)."""
        return np.frombuffer(self.thumbnail, np.uint8).reshape(SIDE, SIDE)

    @property
    def why_not_mri(self) -> str | None:
        """What an MRI slice does not look like, in words, or ``None`` where it looks like one."""
        if self.colored > MOST_COLORED:
            return "in color"
        return "no dark background" if self.dark_border < LEAST_DARK_BORDER else None


def image_stats(pixels: NDArray[np.uint8]) -> ImageStats:
    """Measure an image (H, W) or (H, W, 3)."""
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
