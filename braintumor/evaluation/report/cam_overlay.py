"""A class activation map laid over the frame it explains.

Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016: with global average pooling
before the last Dense, that Dense applied to each location of the last feature map is the map.
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
"""Perceptually even, readable with any color vision and in gray."""
_STRONGEST = 0.65
"""Opacity of the marked region: the anatomy must stay visible through it."""
_FADE = 1.5
"""Above 1, weak evidence leaves the frame untinted."""
_SHOWN = 448
"""Least width of a picture in pixels: room for a caption's words."""
_CAPTION, _MARGIN, _LETTERS = 56, 8, 16
"""Height of the caption, its margin and its letters, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One classified frame, ready to be shown.

    Attributes:
        name: what to call it, such as a file name or scan id.
        frame: uint8 (H, W, 3).
        truth: its label.
        predicted: the class with the highest probability.
        confidence: that probability.
        activation_map: float (h, w), logits of the predicted class; ``None`` where there is none.
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
        """Whether the prediction is the label."""
        return self.truth is self.predicted


def overlay(frame: NDArray[np.uint8], activation_map: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The frame (H, W, 3) with the map over it: the brighter and the more opaque, the stronger the evidence.

    Raises:
        EvaluationError: the frame is not uint8 (H, W, 3), or the map not finite (h, w).
    """
    _check_frame(frame)
    strength = upsample(activation_map, height=frame.shape[0], width=frame.shape[1])  # (H, W)
    color = matplotlib.colormaps[_COLORMAP](strength)[..., :3] * 255  # (H, W, 3)
    opacity = (_STRONGEST * strength**_FADE)[..., np.newaxis]  # (H, W, 1)
    blended: NDArray[np.uint8] = np.rint(frame * (1 - opacity) + color * opacity).astype(np.uint8)
    return blended


def overlay_png(frame: NDArray[np.uint8], activation_map: NDArray[np.floating], *, caption: str) -> bytes:
    """The overlay as a PNG to keep or send: enlarged, with ``caption`` and its purpose below it.

    Raises:
        EvaluationError: the frame is not uint8 (H, W, 3), or the map not finite (h, w).
    """
    picture = Image.fromarray(overlay(frame, activation_map))
    factor = max(1, -(-_SHOWN // picture.width))
    width, height = picture.width * factor, picture.height * factor
    page = Image.new("RGB", (width, height + _CAPTION))
    page.paste(picture.resize((width, height), Image.Resampling.BICUBIC))
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
