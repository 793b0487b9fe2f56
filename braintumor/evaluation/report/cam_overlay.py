"""Draw a class activation map over its frame.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. The last Dense layer follows
global average pooling. The same layer, applied to each location of the last feature map, yields the activation map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from braintumor.errors import EvaluationError
from braintumor.labels import TumorClass
from braintumor.serving.activation_map import upsample

_COLORMAP = "inferno"
"""Perceptually uniform, readable with any color vision and in gray."""
_STRONGEST = 0.65
"""Opacity of the strongest evidence, below 1 so that the anatomy stays visible."""
_FADE = 1.5
"""Exponent of the opacity. Above 1, weak evidence is nearly transparent."""
_MINIMUM_WIDTH = 448
"""Minimum width of the PNG in pixels, so that the caption fits."""
_CAPTION, _MARGIN, _LETTERS = 56, 8, 16
"""Height, margin and font size of the caption in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Hold one classified frame for display.

    Attributes:
        frame: RGB, uint8 (H, W, 3).
        activation_map: float (h, w), logits of the predicted class, ``None`` if there is no map.
    """

    name: str
    frame: NDArray[np.uint8]
    truth: TumorClass
    predicted: TumorClass
    confidence: float
    activation_map: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        _check_frame(self.frame)

    @property
    def is_correct(self) -> bool:
        """Return whether the predicted class is the label."""
        return self.truth is self.predicted


def overlay(frame: NDArray[np.uint8], activation_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the frame (H, W, 3) with the map (h, w) over it. Stronger evidence is brighter and more opaque.

    A frame that is not uint8, or a map that is not finite, raises ``EvaluationError``.
    """
    _check_frame(frame)
    strength = upsample(activation_map, height=frame.shape[0], width=frame.shape[1])  # (H, W)
    color = matplotlib.colormaps[_COLORMAP](strength)[..., :3] * 255  # (H, W, 3)
    opacity = (_STRONGEST * strength**_FADE)[..., np.newaxis]  # (H, W, 1)
    blended: NDArray[np.uint8] = np.rint(frame * (1 - opacity) + color * opacity).astype(np.uint8)
    return blended


def overlay_png(frame: NDArray[np.uint8], activation_map: NDArray[np.floating], *, caption: str) -> bytes:
    """Return the enlarged overlay as PNG, with ``caption`` and the words "For review, not for diagnosis" below it."""
    image = Image.fromarray(overlay(frame, activation_map))
    factor = max(1, -(-_MINIMUM_WIDTH // image.width))
    width, height = image.width * factor, image.height * factor
    page = Image.new("RGB", (width, height + _CAPTION))
    page.paste(image.resize((width, height), Image.Resampling.BICUBIC))
    words = f"{caption}\nFor review, not for diagnosis"
    ImageDraw.Draw(page).text((_MARGIN, height + _MARGIN), words, fill="white", font=ImageFont.load_default(_LETTERS))
    buffer = io.BytesIO()
    page.save(buffer, format="PNG")
    return buffer.getvalue()


def _check_frame(frame: NDArray[np.uint8]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:  # noqa: PLR2004
        raise EvaluationError(
            f"A frame must be uint8 of shape (H, W, 3). Received: {frame.dtype} of shape {frame.shape}. "
            "Decode it with braintumor.imaging."
        )
