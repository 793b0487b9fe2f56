"""Reviewed frames join labeled images without touching the test split.

The labeled images get their splits as if no new reviewed frame were there; then the frames join them by the rules of
``grouping``. A frame that is, or whose group has, a test image of any snapshot is left out, and so are the frames of
its group: frames from production are chosen by risk, and a test set of such would say nothing of the others. Frames in
groups of their own train.
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
    form_groups,
    group_key,
    linked_groups,
    links_of_nearness,
    links_of_patients,
    remembered_splits,
)
from braintumor.dataset.splits.split import Split, assign

IN_TEST = "reviewed frame whose group has an image in test"
NEAR_LEFT_OUT = "reviewed frame near an image that was left out"


@dataclass(frozen=True, kw_only=True)
class ReviewedFramesSplit:
    """Groups and their splits, by group key; what is left out is named in the grouping."""

    grouping: Grouping
    splits: Mapping[str, Split]


def split_images(images: Sequence[LabeledImage], remembered: Mapping[str, Split]) -> ReviewedFramesSplit:
    """Group labeled images and give each group its split."""
    grouping = form_groups(images, remembered)
    return ReviewedFramesSplit(grouping=grouping, splits=assign(grouping.to_split(), grouping.known))


def split_reviewed_frames(
    images: Sequence[LabeledImage],
    reviewed: Sequence[LabeledImage],
    remembered: Mapping[str, Split],
    tests: Collection[bytes],
) -> ReviewedFramesSplit:
    """Group labeled images and reviewed frames.

    Args:
        images: labeled images, as read.
        reviewed: labeled images of reviewed frames.
        remembered: splits decided before, by sha256 of a file's bytes and by that of its pixels.
        tests: perceptual hashes of the test images of every snapshot.
    """
    in_test = [image for image in images if remembered_splits([image], remembered) == {Split.TEST}]
    free, withheld = _withhold(reviewed, remembered, {*tests, *_hashes(in_test)}, in_test)
    old = [frame for frame in free if remembered_splits([frame], remembered)]
    before = split_images([*images, *old], remembered)  # a new image near a frame that trains is no test image

    placed = {file.image_sha256: split for file, split in _files(before)}
    memory = {**remembered, **placed, **{file.pixel_sha256: split for file, split in _files(before)}}
    in_test = [file for file, split in _files(before) if split is Split.TEST]
    fresh = [frame for frame in free if not remembered_splits([frame], remembered)]
    candidates = [frame for frame in old if frame.image_sha256 in placed] + fresh
    free, more = _withhold(candidates, memory, _hashes(in_test), in_test)
    lost = {item.image_sha256 for item in before.grouping.excluded}
    free, near_lost = _away_from(free, [image for image in images if image.image_sha256 in lost])

    kept = [file for file, _ in _files(before) if not file.reviewed]
    grouping = form_groups([*kept, *free], memory)
    withheld += [*before.grouping.excluded, *more, *near_lost]
    return ReviewedFramesSplit(
        grouping=replace(grouping, excluded=(*grouping.excluded, *withheld)),
        splits={key: grouping.known.get(key, Split.TRAIN) for key in map(group_key, grouping.groups)},
    )


def _files(joined: ReviewedFramesSplit) -> list[tuple[LabeledImage, Split]]:
    return [
        (file, joined.splits[group_key(group)])
        for group in joined.grouping.groups
        for picture in group
        for file in picture.files
    ]


def _withhold(
    reviewed: Sequence[LabeledImage],
    remembered: Mapping[str, Split],
    tests: Collection[bytes],
    in_test: Sequence[LabeledImage],
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Those whose group has no test image, and those whose group has one."""
    people = {one for image in in_test for one in image.patient}
    near = _near(reviewed, tests)
    touching = [
        bool(near[place])
        or Split.TEST in remembered_splits([frame], remembered)
        or not people.isdisjoint(frame.patient)
        for place, frame in enumerate(reviewed)
    ]
    group = _groups(reviewed)
    tainted = {number for number, touches in zip(group, touching, strict=True) if touches}
    free = [frame for frame, number in zip(reviewed, group, strict=True) if number not in tainted]
    return free, [frame.exclude(IN_TEST) for frame, number in zip(reviewed, group, strict=True) if number in tainted]


def _away_from(
    reviewed: Sequence[LabeledImage], lost: Sequence[LabeledImage]
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Those that are near no image of ``lost``, and those that are: its reason holds for them as well."""
    near = _near(reviewed, _hashes(lost))
    free = [frame for place, frame in enumerate(reviewed) if not near[place]]
    return free, [frame.exclude(NEAR_LEFT_OUT) for place, frame in enumerate(reviewed) if near[place]]


def _groups(reviewed: Sequence[LabeledImage]) -> list[int]:
    """The number of each frame's group, by nearness and identity among the frames."""
    links = links_of_nearness(reviewed) + links_of_patients([frame.patient for frame in reviewed])
    return linked_groups(len(reviewed), links)


def _near(reviewed: Sequence[LabeledImage], hashes: Collection[bytes]) -> NDArray[np.bool_]:
    known = [each for each in hashes if each]  # empty in snapshots of before it was kept
    if not reviewed or not known:
        return np.zeros(len(reviewed), np.bool_)
    _, distances = nearest(from_bytes(_hashes(reviewed)), from_bytes(known))
    return distances <= NEAR


def _hashes(images: Sequence[LabeledImage]) -> list[bytes]:
    return [image.perceptual_hash for image in images]
