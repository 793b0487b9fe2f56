"""Assign groups of images to splits: stratified, 70/15/15, and permanent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from braintumor.labels import CLASSES, TumorClass


class Split(StrEnum):
    """Fit with train, tune and select with validation, run the gate with test."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES: Mapping[Split, float] = {Split.TRAIN: 0.70, Split.VALIDATION: 0.15, Split.TEST: 0.15}


@dataclass(frozen=True, kw_only=True)
class SplitGroup:
    """The class and the number of images of a group."""

    label: TumorClass
    count: int = 1


def assign(groups: Mapping[str, SplitGroup], known: Mapping[str, Split]) -> dict[str, Split]:
    """Return a split for every group key.

    A group in ``known`` keeps its split forever. New groups fill test and validation of their class up to ``SHARES`` of
    its images. Their order is a fixed pseudorandom one (by hash), and no group exceeds a share. The remaining groups
    are in train. So a class that grows keeps its proportions, and no image moves.
    """
    result: dict[str, Split] = {}
    for label in CLASSES:
        members = {key: group.count for key, group in groups.items() if group.label is label}
        result.update(_assign_class(members, known))
    return result


def _assign_class(counts: Mapping[str, int], known: Mapping[str, Split]) -> dict[str, Split]:
    result = {key: known[key] for key in counts if key in known}
    new = sorted(counts.keys() - result.keys(), key=lambda key: sha256(f"split {key}".encode()).hexdigest())
    for split in (Split.TEST, Split.VALIDATION):
        target = round(SHARES[split] * sum(counts.values()))
        count = sum(counts[key] for key, assigned in result.items() if assigned is split)
        for key in new:
            if key not in result and count + counts[key] <= target:
                result[key] = split
                count += counts[key]
    return {key: result.get(key, Split.TRAIN) for key in counts}
