"""The leak receipt: how near each test image is to what the model was trained on, and whether answers hang on it.

Near-duplicates are kept out of the test split by construction (``dataset.grouping``); this shows what is left. Where a
model is right mostly on test images that resemble a training image, its accuracy speaks of memory. Beside it stands
what the same frozen stage would have claimed on a naive split (``modeling.naive``).
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
"""Of the Hamming distance; two images that have nothing in common are about 100 apart."""


@dataclass(frozen=True, kw_only=True)
class Neighbor:
    """The training image that a test image resembles most; ``distance`` is of 256 bits, in any flip or turn."""

    image_sha256: str
    neighbor_sha256: str
    distance: int


@dataclass(frozen=True, kw_only=True)
class DistanceBand:
    """Test images whose nearest training image is ``lowest`` to ``highest`` bits away, and how many were right."""

    lowest: int
    highest: int
    count: int
    count_correct: int


def nearest_in_training(snapshot: Snapshot) -> list[Neighbor]:
    """For each test image the training image it resembles most; empty for a snapshot without perceptual hashes."""
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    if not all(image.perceptual_hash for image in (*training, *test)):
        return []
    where, distances = nearest(hashes_of(test), hashes_of(training))
    return [
        Neighbor(image_sha256=image.image_sha256, neighbor_sha256=training[at].image_sha256, distance=int(distance))
        for image, at, distance in zip(test, where, distances, strict=True)
    ]


def accuracy_by_distance(answers: Sequence[tuple[int, bool]]) -> list[DistanceBand]:
    """Bands of the distance, of answers as (distance, whether it was right)."""
    bands = []
    for lowest, after in pairwise((0, *_BANDS)):
        inside = [is_correct for distance, is_correct in answers if lowest <= distance < after]
        bands.append(DistanceBand(lowest=lowest, highest=after - 1, count=len(inside), count_correct=sum(inside)))
    return bands


def hashes_of(images: Sequence[SnapshotImage]) -> NDArray[np.uint64]:
    """Return the perceptual hashes of the images: (N, words)."""
    return from_bytes(image.perceptual_hash for image in images)
