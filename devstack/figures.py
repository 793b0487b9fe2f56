"""Compute baselines for a model's accuracy and for its activation maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import redraw
from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.backend import Outputs

_THUMBNAIL = 8


@dataclass(frozen=True, kw_only=True)
class MapHits:
    """Count how often the strongest cell of the activation map touches the lesion.

    ``count`` is the number of correct tumor predictions. In ``hits`` of them, the cell touches the lesion.
    """

    hits: int
    count: int

    @property
    def share(self) -> float:
        """Return the share of hits, 0 to 1. It is 0 if there are no predictions."""
        return self.hits / self.count if self.count else 0.0


def thumbnail_probe(training: FrameArrays, test: FrameArrays) -> float:
    """Return the test accuracy of logistic regression on gray thumbnails of 8x8 pixels.

    A thumbnail shows only brightness and place, so this accuracy is a baseline for models that see shapes.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(_thumbnails(training.frames), training.labels)
    return float(probe.score(_thumbnails(test.frames), test.labels))


def map_hits(test: FrameArrays, outputs: Outputs) -> MapHits:
    """Compare the activation map of each correct tumor prediction with the lesion in the phantom.

    The mask of the lesion is drawn again from the phantom's name.
    """
    touched = [
        _touches(outputs.activation_map[index, :, :, label], _mask(test, index))
        for index, label in enumerate(test.labels)
        if CLASSES[label] is not TumorClass.NORMAL and outputs.probability[index].argmax() == label
    ]
    return MapHits(hits=sum(touched), count=len(touched))


def _thumbnails(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = [
        Image.fromarray(frame).convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX) for frame in frames
    ]
    return np.stack([np.asarray(image, np.float32).ravel() for image in small])


def _mask(test: FrameArrays, index: int) -> NDArray[np.bool_]:
    image = test.images[index]
    mask = redraw(image.label, image.image_uri).mask
    return letterbox(mask.astype(np.uint8) * 255, size=test.frames.shape[1])[:, :, 0] > 0


def _touches(activation_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Return whether any pixel of the mask is in the map's strongest cell."""
    side = mask.shape[0] // activation_map.shape[0]
    row, column = np.unravel_index(int(activation_map.argmax()), activation_map.shape)
    return bool(mask[row * side : (row + 1) * side, column * side : (column + 1) * side].any())
