"""Add reviewed frames to the labeled images without changing the test split.

First, the labeled images get their splits without the new reviewed frames. Then the reviewed frames are added by the
rules of ``grouping``. If a group contains a test image of any snapshot, all reviewed frames of the group are excluded.
The reason: reviewed frames are selected by risk, so a test set with them would not be representative. If the images of
a group are all new reviewed frames, the group is in train.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage
from braintumor.dataset.images.perceptual_hash import NEAR, from_bytes, nearest
from braintumor.dataset.splits.grouping import (
    Grouping,
    chained,
    form_groups,
    group_key,
    linked_groups,
    patient_clusters,
    remembered_splits,
)
from braintumor.dataset.splits.near_links import ComparedImages, near_links
from braintumor.dataset.splits.split import Split, assign
from braintumor.labels import TumorClass

IN_TEST = "reviewed frame whose group has an image in test"
NEAR_EXCLUDED = "reviewed frame near an image that was left out"


@dataclass(frozen=True, kw_only=True)
class ReviewedFramesSplit:
    """Groups with their splits.

    Attributes:
        grouping: the groups and the excluded images.
        splits: the split of each group, by group key.
        identified: classes whose images need a known patient to be put into test.
    """

    grouping: Grouping
    splits: Mapping[str, Split]
    identified: frozenset[TumorClass] = frozenset()


def split_images(
    images: Sequence[LabeledImage],
    remembered: Mapping[str, Split],
    *,
    test_needs_patient: bool = False,
    compared: ComparedImages | None = None,
) -> ReviewedFramesSplit:
    """Group labeled images, and assign a split to each group.

    Args:
        images: labeled images.
        remembered: splits of earlier snapshots. Each file has two keys: the sha256 of its bytes and of its pixels.
        test_needs_patient: whether groups need a known patient to be put into test. This applies to the classes of
            ``Grouping.identified_classes``.
        compared: as in ``form_groups``.
    """
    return split_groups(form_groups(images, remembered, compared), test_needs_patient=test_needs_patient)


def split_groups(grouping: Grouping, *, test_needs_patient: bool) -> ReviewedFramesSplit:
    """Assign a split to each group. ``test_needs_patient`` is as for ``split_images``."""
    identified = grouping.identified_classes() if test_needs_patient else frozenset()
    splits = assign(grouping.to_split(identified), grouping.known)
    return ReviewedFramesSplit(grouping=grouping, splits=splits, identified=identified)


def split_reviewed_frames(
    images: Sequence[LabeledImage],
    reviewed: Sequence[LabeledImage],
    remembered: Mapping[str, Split],
    test_hashes: Collection[bytes],
    *,
    test_needs_patient: bool = False,
    compared: ComparedImages | None = None,
) -> ReviewedFramesSplit:
    """Group labeled images and reviewed frames, and assign a split to each group.

    Args:
        images: labeled images.
        reviewed: labeled images of reviewed frames.
        remembered: splits of earlier snapshots. Each file has two keys: the sha256 of its bytes and of its pixels.
        test_hashes: perceptual hashes of the test images of every earlier snapshot.
        test_needs_patient: as in ``split_images``.
        compared: as in ``form_groups``.
    """
    compared = compared or ComparedImages()
    in_test = [image for image in images if remembered_splits([image], remembered) == {Split.TEST}]
    allowed, excluded = _exclude_near_test(reviewed, remembered, {*test_hashes, *_hashes(in_test)}, in_test, compared)
    old = [frame for frame in allowed if remembered_splits([frame], remembered)]
    # split with the old frames, so that no new image near a training frame becomes a test image
    before = split_images([*images, *old], remembered, test_needs_patient=test_needs_patient, compared=compared)

    assigned = {file.image_sha256: split for file, split in _files(before)}
    known = {**remembered, **assigned, **{file.pixel_sha256: split for file, split in _files(before)}}
    in_test = [file for file, split in _files(before) if split is Split.TEST]
    new = [frame for frame in allowed if not remembered_splits([frame], remembered)]
    candidates = [frame for frame in old if frame.image_sha256 in assigned] + new
    allowed, also_excluded = _exclude_near_test(candidates, known, _hashes(in_test), in_test, compared)
    unused = {item.image_sha256 for item in before.grouping.excluded}
    allowed, near_excluded = _exclude_near(allowed, [image for image in images if image.image_sha256 in unused])

    kept = [file for file, _ in _files(before) if not file.reviewed]
    grouping = form_groups([*kept, *allowed], known, compared)
    excluded += [*before.grouping.excluded, *also_excluded, *near_excluded]
    return ReviewedFramesSplit(
        grouping=replace(grouping, excluded=(*grouping.excluded, *excluded)),
        splits={key: grouping.known.get(key, Split.TRAIN) for key in map(group_key, grouping.groups)},
        identified=before.identified,
    )


def _files(split: ReviewedFramesSplit) -> list[tuple[LabeledImage, Split]]:
    return [
        (file, split.splits[group_key(group)])
        for group in split.grouping.groups
        for member in group
        for file in member.files
    ]


def _exclude_near_test(
    reviewed: Sequence[LabeledImage],
    remembered: Mapping[str, Split],
    test_hashes: Collection[bytes],
    in_test: Sequence[LabeledImage],
    compared: ComparedImages,
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return the reviewed frames whose group has no test image, and the exclusions of the other reviewed frames.

    Args:
        reviewed: the reviewed frames.
        remembered: splits by the sha256 of a file's bytes, and by the sha256 of its pixels.
        test_hashes: perceptual hashes of test images.
        in_test: labeled images in test, for the comparison of patients and studies.
        compared: as in ``form_groups``.
    """
    patients = {name for image in in_test for name in image.patient}
    is_linked = [
        bool(is_near) or Split.TEST in remembered_splits([frame], remembered) or not patients.isdisjoint(frame.patient)
        for frame, is_near in zip(reviewed, _near(reviewed, test_hashes), strict=True)
    ]
    links = near_links(reviewed, compared) + chained(patient_clusters([frame.patient for frame in reviewed]))
    numbers = linked_groups(len(reviewed), links)
    excluded = {number for number, linked in zip(numbers, is_linked, strict=True) if linked}
    allowed = [frame for frame, number in zip(reviewed, numbers, strict=True) if number not in excluded]
    return allowed, [
        frame.exclude(IN_TEST) for frame, number in zip(reviewed, numbers, strict=True) if number in excluded
    ]


def _exclude_near(
    reviewed: Sequence[LabeledImage], others: Sequence[LabeledImage]
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return the reviewed frames that are near no image of ``others``, and the exclusions of the near frames."""
    near = _near(reviewed, _hashes(others))
    allowed = [frame for frame, is_near in zip(reviewed, near, strict=True) if not is_near]
    return allowed, [frame.exclude(NEAR_EXCLUDED) for frame, is_near in zip(reviewed, near, strict=True) if is_near]


def _near(reviewed: Sequence[LabeledImage], hashes: Collection[bytes]) -> NDArray[np.bool_]:
    known = [value for value in hashes if value]  # because snapshots of earlier versions have empty hashes
    if not reviewed or not known:
        return np.zeros(len(reviewed), np.bool_)
    _, distances = nearest(from_bytes(_hashes(reviewed)), from_bytes(known))
    return distances <= NEAR


def _hashes(images: Sequence[LabeledImage]) -> list[bytes]:
    return [image.perceptual_hash for image in images]
