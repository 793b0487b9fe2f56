"""Compare the strongest cell of the activation map with the lesion's box."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.data import Dataset, Indexes
from braintumor.labels import TumorClass
from braintumor.training.recipe import STRIDE

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """Count the correct tumor predictions by where the strongest cell is.

    Attributes:
        count: correct tumor predictions with a known box.
        inside: those of them whose strongest cell has its center in the box.
        touching: those of them whose strongest cell overlaps the box.
    """

    count: int = 0
    inside: int = 0
    touching: int = 0

    @classmethod
    def sum(cls, parts: Sequence[Pointing]) -> Self:
        """Return the counts of several folds together."""
        return cls(
            count=sum(part.count for part in parts),
            inside=sum(part.inside for part in parts),
            touching=sum(part.touching for part in parts),
        )


def read_boxes(path: Path | None, dataset: Dataset, size: int) -> dict[int, Box]:
    """Return the box of each image that has one, by position, in pixels of the letterboxed frame.

    Args:
        path: a CSV file with the columns ``path``, ``x0``, ``y0``, ``x1`` and ``y1``.
        dataset: the images.
        size: side of the frame in pixels.
    """
    if path is None:
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    boxes = {}
    for position, image in enumerate(dataset.images):
        row = rows.get(image.image.image_uri)
        if row is not None:
            height, width = dataset.pixels(position).shape[:2]
            scale = size / max(height, width)
            left, top = (size - width * scale) / 2, (size - height * scale) / 2
            x0, y0, x1, y1 = (float(row[name]) * scale for name in ("x0", "y0", "x1", "y1"))
            boxes[position] = (x0 + left, y0 + top, x1 + left, y1 + top)
    return boxes


def count_pointing(
    boxes: Mapping[int, Box],
    positions: Indexes,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    maps: NDArray[np.floating],
) -> Pointing:
    """Count where the strongest cells of the test images are.

    Args:
        boxes: the box of an image, by position.
        positions: (N,) positions of the test images.
        labels: (N,) positions in ``CLASSES``.
        probabilities: (N, 4), columns in the order of ``CLASSES``.
        maps: activation maps (N, h, w, 4): image, row, column, class.
    """
    predicted = probabilities.argmax(axis=1)
    count = inside = touching = 0
    for row, position in enumerate(positions.tolist()):
        box = boxes.get(position)
        if box is None or predicted[row] != labels[row] or labels[row] == TumorClass.NORMAL.position:
            continue
        values = maps[row, :, :, predicted[row]]
        y, x = (int(cell) * STRIDE for cell in np.unravel_index(values.argmax(), values.shape))
        count += 1
        inside += box[0] <= x + STRIDE / 2 <= box[2] and box[1] <= y + STRIDE / 2 <= box[3]
        touching += x < box[2] and x + STRIDE > box[0] and y < box[3] and y + STRIDE > box[1]
    return Pointing(count=count, inside=inside, touching=touching)
