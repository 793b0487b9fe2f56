"""Assign groups of images to splits: stratified, 70/15/15, and permanent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from braintumor.labels import CLASSES, TumorClass


class Split(StrEnum):
    """The splits. A model is fitted on train, tuned and selected on validation, and judged on test by the gate."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES: Mapping[Split, float] = {Split.TRAIN: 0.70, Split.VALIDATION: 0.15, Split.TEST: 0.15}


@dataclass(frozen=True, kw_only=True)
class SplitGroup:
    """The class of a group, and the number of its images that count for the size of a split.

    Attributes:
        label: the class.
        count: the number of images.
        may_test: whether a new group may be put into test. A group that an earlier snapshot put into test stays there.
    """

    label: TumorClass
    count: int = 1
    may_test: bool = True


def assign(groups: Mapping[str, SplitGroup], known: Mapping[str, Split]) -> dict[str, Split]:
    """Return the split of every group, by group key.

    A group in ``known`` keeps its split. All other groups are new. The function treats each class separately. It takes
    the new groups of a class in the order of the sha256 of their group keys, which is a fixed pseudorandom order. Test
    is filled first, then validation, each up to its share (``SHARES``) of the class's images. A group that would exceed
    the share is tried in the next split. All remaining groups go into train. So a growing class keeps its proportions,
    and no image changes its split.

    A new class of few large groups, such as four patients, fills no share. Its test and validation then get the
    smallest group each. The largest group goes into train.

    Args:
        groups: class and number of images of each group, by group key.
        known: splits of earlier snapshots, by group key.
    """
    result: dict[str, Split] = {}
    for label in CLASSES:
        members = {key: group for key, group in groups.items() if group.label is label}
        result.update(_assign_class(members, known))
    return result


def _assign_class(groups: Mapping[str, SplitGroup], known: Mapping[str, Split]) -> dict[str, Split]:
    result = {key: known[key] for key in groups if key in known}
    is_first = not any(groups[key].count for key in result)
    new = sorted(groups.keys() - result.keys(), key=lambda key: sha256(f"split {key}".encode()).hexdigest())
    for split, later in ((Split.TEST, 2), (Split.VALIDATION, 1)):
        target = round(SHARES[split] * sum(group.count for group in groups.values()))
        count = sum(groups[key].count for key, assigned in result.items() if assigned is split)
        allowed = [key for key in new if key not in result and (groups[key].may_test or split is not Split.TEST)]
        for key in allowed:
            if count + groups[key].count <= target and (not is_first or len(groups) - len(result) > later):
                result[key] = split
                count += groups[key].count
        if is_first and not count and len(groups) - len(result) > later:
            largest = max(new, key=lambda key: groups[key].count)
            smaller = sorted((key for key in allowed if key != largest), key=lambda key: groups[key].count)
            result |= dict.fromkeys(smaller[:1], split)
    return {key: result.get(key, Split.TRAIN) for key in groups}
