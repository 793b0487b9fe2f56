"""Measure the distance of each test image to the nearest training image, and the accuracy by this distance.

The distance is the number of different bits of two perceptual hashes. ``dataset.splits.grouping`` keeps near-duplicates
in one split. This module measures the remaining similarity. A model that is correct mostly near training images has
memorized the training images. For comparison, the report also shows the accuracy of a head on frozen features with a
random split (``training.random_split_baseline``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.images.perceptual_hash import NEAR, from_bytes, nearest
from braintumor.dataset.snapshot import Snapshot, SnapshotImage
from braintumor.dataset.splits.split import Split

HASH_BITS = 256
_BANDS = (NEAR + 1, 48, 64, 80, 96, HASH_BITS + 1)
"""Upper end of each band of distances, not included, in bits (0 to 256). Unrelated images are about 100 bits apart."""


@dataclass(frozen=True, kw_only=True)
class Neighbor:
    """Name the training image nearest to a test image.

    Attributes:
        image_sha256: sha256 of the test image.
        neighbor_sha256: sha256 of the training image.
        distance: distance of their perceptual hashes in bits, 0 to 256, as ``perceptual_hash.nearest`` returns it.
    """

    image_sha256: str
    neighbor_sha256: str
    distance: int


@dataclass(frozen=True, kw_only=True)
class DistanceBand:
    """Count the test images whose nearest training image is ``lowest`` to ``highest`` bits away, both included."""

    lowest: int
    highest: int
    count: int
    count_correct: int


def nearest_in_training(snapshot: Snapshot) -> list[Neighbor]:
    """Return the nearest training image of each test image.

    The list is empty if any training or test image has no perceptual hash.
    """
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    if not all(image.perceptual_hash for image in (*training, *test)):
        return []
    where, distances = nearest(hashes_of(test), hashes_of(training))
    return [
        Neighbor(image_sha256=image.image_sha256, neighbor_sha256=training[at].image_sha256, distance=int(distance))
        for image, at, distance in zip(test, where, distances, strict=True)
    ]


def accuracy_by_distance(predictions: Sequence[tuple[int, bool]]) -> list[DistanceBand]:
    """Return the numbers of images and of correct predictions in each band of distance.

    Args:
        predictions: for each test image, the distance in bits and whether the prediction is correct.
    """
    bands = []
    for lowest, after in pairwise((0, *_BANDS)):
        inside = [is_correct for distance, is_correct in predictions if lowest <= distance < after]
        bands.append(DistanceBand(lowest=lowest, highest=after - 1, count=len(inside), count_correct=sum(inside)))
    return bands


def hashes_of(images: Sequence[SnapshotImage]) -> NDArray[np.uint64]:
    """Return the perceptual hashes of the images, uint64 (N, 8, 4): image, orientation, 64-bit word."""
    return from_bytes(image.perceptual_hash for image in images)
