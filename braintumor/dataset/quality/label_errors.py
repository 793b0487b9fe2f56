"""Find images with doubtful labels, by confident learning on thumbnails.

A forest of extremely randomized trees predicts the class of each image, trained without the image and its
near-duplicates. An image is a candidate if the forest contradicts its label with enough confidence (Northcutt et al.,
"Confident Learning", 2021, as implemented in cleanlab). The forest is fast and often wrong, so no image is relabeled or
excluded. docs/decisions/0012 explains the choice.
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
from braintumor.progress import progress

_FOLDS = 5
_MIN_FOLDS = 3
_TREES = 100
_THREADS_FROM = 500
"""Smallest number of images for which two threads are faster than one."""
_STEP = 2
"""Side in pixels of the square blocks of a thumbnail. Each block is averaged to one value.

The search is four times faster with blocks, and equally accurate.
"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An image whose label is doubtful.

    ``suggested`` is the class that the forest predicts. ``confidence`` is the probability, 0 to 1, that the forest
    gives to the image's label.
    """

    image: LabeledImage
    suggested: TumorClass
    confidence: float


@dataclass(frozen=True, kw_only=True)
class LabelReview:
    """The result of a search for label errors in ``count_image`` distinct images, the most doubtful candidates first.

    ``skipped`` is the reason for skipping the search. It is empty after a search.
    """

    candidates: tuple[Candidate, ...] = field(default=())
    count_image: int = 0
    skipped: str = ""


def review_labels(groups: Sequence[Sequence[DistinctImage]], *, maximum_images: int) -> LabelReview:
    """Return the images whose labels are doubtful. The search takes seconds for thousands of images.

    The forest that predicts a group of linked images was trained without this group. If there are more than
    ``maximum_images`` distinct images, the search is skipped.
    """
    images = [member.image for group in groups for member in group]
    labels = np.array([image.label.position for image in images], np.int64)
    numbers = np.array([number for number, group in enumerate(groups) for _ in group], np.int64)
    folds = min(_FOLDS, *(len(set(numbers[labels == label.position])) for label in CLASSES))
    skipped = _skip_reason(len(images), folds, maximum_images)
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


def _skip_reason(count: int, folds: int, maximum_images: int) -> str:
    if count > maximum_images:
        return f"{count:,} distinct images are more than the {maximum_images:,} that are searched in bounded time"
    if folds < _MIN_FOLDS:
        return f"a class has fewer than {_MIN_FOLDS} groups of images to learn from"
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        return "cleanlab is not installed here, it comes with the extra `train`"
    return ""


def _features(images: Sequence[LabeledImage]) -> NDArray[np.float32]:
    """Return float32 (N, 1024): per image a thumbnail of 32 x 32 gray values, row by row, 0 to 255."""
    thumbnails = np.stack([image.appearance.pixels for image in images]).astype(np.float32)
    side = SIDE // _STEP
    blocks = thumbnails.reshape(len(images), side, _STEP, side, _STEP)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(len(images), -1)


def _out_of_fold(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int
) -> NDArray[np.float64]:
    """Return float64 (N, 4): per image the class probabilities from a forest trained without the image's group.

    ``features`` (N, 1024) are the result of ``_features``. ``labels`` (N,) are positions in ``CLASSES``. ``groups``
    (N,) are group numbers. One forest per fold predicts this fold, and is trained on the other folds.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    result = np.zeros((len(labels), len(CLASSES)))
    threads = 1 if len(labels) < _THREADS_FROM else 2
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    with progress("Searching for label errors", folds, unit="folds") as advance:
        for train, held_out in splitter.split(features, labels, groups):
            forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, random_state=0, n_jobs=threads)
            forest.fit(features[train], labels[train])
            result[np.ix_(held_out, forest.classes_)] = forest.predict_proba(features[held_out])
            advance(1)
    return result


def _issues(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[int]:
    """Return the positions of images with doubtful labels, the most doubtful first.

    ``labels`` (N,) are positions in ``CLASSES``. ``probabilities`` (N, 4) are from ``_out_of_fold``.
    """
    from cleanlab.filter import find_label_issues

    # one process, because a fork of a threaded worker can hang
    positions: Any = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(position) for position in positions]
