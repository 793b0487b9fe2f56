"""Measure the similarity of test images to training images, and the accuracy by this distance.

``dataset.splits.grouping`` keeps near-duplicates in one split. This module measures the remaining similarity. A model
that is correct mostly near training images has memorized them. The report also shows the accuracy of the same frozen
stage with a random split (``training.random_split_baseline``).
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
"""Limits of the Hamming distance. Two unrelated images have a distance of about 100."""


@dataclass(frozen=True, kw_only=True)
class Neighbor:
    """The training image nearest to a test image. ``distance`` is in bits of 256, the least of all flips and turns."""

    image_sha256: str
    neighbor_sha256: str
    distance: int


@dataclass(frozen=True, kw_only=True)
class DistanceBand:
    """The test images with a nearest training image ``lowest`` to ``highest`` bits away."""

    lowest: int
    highest: int
    count: int
    count_correct: int


def nearest_in_training(snapshot: Snapshot) -> list[Neighbor]:
    """Return the nearest training image of each test image, empty for a snapshot without perceptual hashes."""
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    if not all(image.perceptual_hash for image in (*training, *test)):
        return []
    where, distances = nearest(hashes_of(test), hashes_of(training))
    return [
        Neighbor(image_sha256=image.image_sha256, neighbor_sha256=training[at].image_sha256, distance=int(distance))
        for image, at, distance in zip(test, where, distances, strict=True)
    ]


def accuracy_by_distance(predictions: Sequence[tuple[int, bool]]) -> list[DistanceBand]:
    """Count correct predictions in bands of distance. Each prediction is (distance, whether it is correct)."""
    bands = []
    for lowest, after in pairwise((0, *_BANDS)):
        inside = [is_correct for distance, is_correct in predictions if lowest <= distance < after]
        bands.append(DistanceBand(lowest=lowest, highest=after - 1, count=len(inside), count_correct=sum(inside)))
    return bands


def hashes_of(images: Sequence[SnapshotImage]) -> NDArray[np.uint64]:
    """Return the perceptual hashes of the images: (N, words)."""
    return from_bytes(image.perceptual_hash for image in images)
