"""Which labels a person should look at again: confident learning on thumbnails.

A forest that never saw an image, nor any near-duplicate of it, says which class the image resembles; where it
contradicts the label more firmly than it usually is wrong about that class, the image is a candidate (Northcutt et al.,
"Confident Learning", 2021, as cleanlab does it). The model is cheap and often wrong: nothing is relabeled or left out.
Why this model: docs/decisions/0012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.images.image_stats import SIDE
from braintumor.dataset.images.labeled_image import LabeledImage
from braintumor.dataset.splits.grouping import DistinctImage
from braintumor.labels import CLASSES, TumorClass

_FOLDS = 5
_FEWEST_FOLDS = 3
_TREES = 100
_THREADS_FROM = 500
"""Images; with fewer, a second thread takes longer than it saves."""
_STEP = 2
"""Pixels of the thumbnail that are averaged to one, each way: four times quicker, and as accurate."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image whose label is doubtful.

    Attributes:
        image: as it was read.
        suggested: the class that it resembles most.
        confidence: what the model gives the class that the label says, 0 to 1; the lower, the more doubtful.
    """

    image: LabeledImage
    suggested: TumorClass
    confidence: float


@dataclass(frozen=True, kw_only=True)
class LabelReview:
    """The candidates, the most doubtful first; or why none were looked for.

    Attributes:
        candidates: for a person to look at.
        count_image: distinct images that were looked at.
        skipped: why nothing was looked at; empty where it was.
    """

    candidates: tuple[Candidate, ...] = field(default=())
    count_image: int = 0
    skipped: str = ""


def review_labels(groups: Sequence[Sequence[DistinctImage]], *, maximum_images: int) -> LabelReview:
    """Look for likely label errors among the pictures of near-duplicate groups: seconds for thousands of images."""
    images = [picture.image for group in groups for picture in group]
    labels = np.array([image.label.position for image in images], np.int64)
    numbers = np.array([number for number, group in enumerate(groups) for _ in group], np.int64)
    folds = min(_FOLDS, *(len(set(numbers[labels == label.position])) for label in CLASSES))
    skipped = _why_not(len(images), folds, maximum_images)
    if skipped:
        return LabelReview(skipped=skipped)
    probabilities = _out_of_fold(_features(images), labels, numbers, folds)
    candidates = [
        Candidate(
            image=images[position],
            suggested=CLASSES[int(probabilities[position].argmax())],
            confidence=float(probabilities[position, labels[position]]),
        )
        for position in _issues(labels, probabilities)
    ]
    return LabelReview(candidates=tuple(candidates), count_image=len(images))


def _why_not(count: int, folds: int, maximum_images: int) -> str:
    if count > maximum_images:
        return f"{count:,} distinct images are more than the {maximum_images:,} that are searched in bounded time"
    if folds < _FEWEST_FOLDS:
        return f"a class has fewer than {_FEWEST_FOLDS} groups of images to learn from"
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        return "cleanlab is not installed here; it comes with the extra `train`"
    return ""


def _features(images: Sequence[LabeledImage]) -> NDArray[np.float32]:
    """(N, 1024): thumbnails of 32 x 32, 0 to 255."""
    thumbnails = np.stack([image.appearance.pixels for image in images]).astype(np.float32)
    side = SIDE // _STEP
    blocks = thumbnails.reshape(len(images), side, _STEP, side, _STEP)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(images), -1)


def _out_of_fold(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int
) -> NDArray[np.float64]:
    """(N, 4): for each image the answer of a model that saw no image of its group."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    result = np.zeros((len(labels), len(CLASSES)))
    threads = 1 if len(labels) < _THREADS_FROM else 2
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, held_out in splitter.split(features, labels, groups):
        forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, random_state=0, n_jobs=threads)
        forest.fit(features[train], labels[train])
        result[np.ix_(held_out, forest.classes_)] = forest.predict_proba(features[held_out])
    return result


def _issues(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[int]:
    """Positions, the least self-confident first."""
    from cleanlab.filter import find_label_issues

    # one process: a fork of a threaded worker can hang
    found: Any = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(position) for position in found]
