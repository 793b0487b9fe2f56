"""The leak receipt: how near each test image is to what the model was trained on, and whether answers hang on it.

Near-duplicates are kept out of the test split by construction (``dataset.grouping``); this shows what is left. Where a
model is right mostly on test images that resemble a training image, its accuracy speaks of memory. Beside it stands
what the same frozen stage would have claimed on a naive split (``modelling.naive``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.fingerprint import NEAR, nearest
from braintumor.dataset.snapshot import Snapshot, SnapshotImage
from braintumor.dataset.split import Split
from braintumor.evaluation.metrics import wilson_interval

_BANDS = (NEAR + 1, 48, 64, 80, 96, 257)
"""Of the Hamming distance, of 256 bits; two images that have nothing in common are about 100 apart."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """The training image that a test image resembles most; ``distance`` is of 256 bits, in any flip or turn."""

    image_sha256: str
    neighbour_sha256: str
    distance: int


@dataclass(frozen=True, kw_only=True)
class DistanceBand:
    """Test images whose nearest training image is ``lowest`` to ``highest`` bits away, and how many were right."""

    lowest: int
    highest: int
    count: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


def nearest_in_training(snapshot: Snapshot) -> list[Neighbour]:
    """For each test image the training image it resembles most; empty for a snapshot without perceptual hashes."""
    training, test = (snapshot.of_split(split) for split in (Split.TRAIN, Split.TEST))
    if not all(image.perceptual_hash for image in (*training, *test)):
        return []
    where, distances = nearest(_hashes(test), _hashes(training))
    return [
        Neighbour(image_sha256=image.image_sha256, neighbour_sha256=training[at].image_sha256, distance=int(distance))
        for image, at, distance in zip(test, where, distances, strict=True)
    ]


def accuracy_by_distance(neighbours: Sequence[Neighbour], is_correct: Mapping[str, bool]) -> list[DistanceBand]:
    """Accuracy in bands of the distance, with 95% Wilson intervals; ``is_correct`` by the test image's sha256."""
    return [
        _band(lowest, after - 1, [is_correct[n.image_sha256] for n in neighbours if lowest <= n.distance < after])
        for lowest, after in pairwise((0, *_BANDS))
    ]


def _band(lowest: int, highest: int, answers: Sequence[bool]) -> DistanceBand:
    if not answers:
        return DistanceBand(
            lowest=lowest, highest=highest, count=0, accuracy=None, accuracy_low=None, accuracy_high=None
        )
    low, high = wilson_interval(sum(answers), len(answers))
    return DistanceBand(
        lowest=lowest,
        highest=highest,
        count=len(answers),
        accuracy=sum(answers) / len(answers),
        accuracy_low=low,
        accuracy_high=high,
    )


def _hashes(images: Sequence[SnapshotImage]) -> NDArray[np.uint64]:
    return np.stack([np.frombuffer(image.perceptual_hash, np.uint64).reshape(8, 4) for image in images])
