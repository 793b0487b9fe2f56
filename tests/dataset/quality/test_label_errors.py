"""Wrong labels are found, and their twins; where nothing can be learned, or not in bounded time, that is said."""

from __future__ import annotations

import numpy as np

from braintumor.dataset.quality.label_errors import review_labels
from braintumor.dataset.splits.grouping import DistinctImage
from braintumor.labels import CLASSES, TumorClass
from tests.images import labeled_image

CORNERS = {label: (64 * (label.position // 2), 64 * (label.position % 2)) for label in CLASSES}


def group(shows: TumorClass, says: TumorClass, name: str, *, files: int = 1) -> list[DistinctImage]:
    """Near-duplicates of a dark square with noise and one bright corner, which is what a class shows."""
    rng = np.random.default_rng(list(name.encode()))
    base = rng.integers(0, 80, (128, 128))
    top, left = CORNERS[shows]
    base[top : top + 64, left : left + 64] += rng.integers(40, 90)
    return [
        DistinctImage(files=(labeled_image((base + number).astype(np.uint8), f"{name} {number}", says),))
        for number in range(files)
    ]


def right(per_class: int) -> list[list[DistinctImage]]:
    return [group(label, label, f"{label} {number}") for label in CLASSES for number in range(per_class)]


def test_wrong_labels_are_found_with_the_class_that_they_resemble_and_twins_do_not_vouch_for_each_other() -> None:
    wrong = group(TumorClass.GLIOMA, TumorClass.NORMAL, "wrong", files=6)
    also = group(TumorClass.PITUITARY, TumorClass.MENINGIOMA, "also wrong")
    review = review_labels([*right(25), wrong, also], maximum_images=1000)
    found = {candidate.image.image_uri: candidate.suggested for candidate in review.candidates}
    assert found == {f"wrong {number}": TumorClass.GLIOMA for number in range(6)} | {
        "also wrong 0": TumorClass.PITUITARY
    }
    confidences = [candidate.confidence for candidate in review.candidates]
    assert confidences == sorted(confidences) and confidences[-1] < 0.5
    assert (review.count_image, review.skipped) == (107, "")


def test_right_labels_give_no_candidates() -> None:
    assert review_labels(right(10), maximum_images=1000).candidates == ()


def test_the_same_images_give_the_same_candidates() -> None:
    groups = [*right(10), group(TumorClass.GLIOMA, TumorClass.NORMAL, "wrong")]
    assert review_labels(groups, maximum_images=1000) == review_labels(groups, maximum_images=1000)


def test_too_many_images_too_few_groups_or_none_are_said() -> None:
    assert "40 distinct images are more than the 39" in review_labels(right(10), maximum_images=39).skipped
    assert "fewer than 3 groups" in review_labels(right(2), maximum_images=1000).skipped
    assert "fewer than 3 groups" in review_labels([], maximum_images=1000).skipped
