"""Which split each group of images belongs to: stratified, 70/15/15, and never changed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from braintumor.labels import CLASSES, TumorClass


class Split(StrEnum):
    """Train fits, validation tunes and picks, test passes or refuses."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES: Mapping[Split, float] = {Split.TRAIN: 0.70, Split.VALIDATION: 0.15, Split.TEST: 0.15}


@dataclass(frozen=True, kw_only=True)
class SplitGroup:
    """A group as far as its split goes: its class, and how many images it holds."""

    label: TumorClass
    count: int = 1


def assign(groups: Mapping[str, SplitGroup], known: Mapping[str, Split]) -> dict[str, Split]:
    """A split for every group key.

    A group that is in ``known`` keeps its split for ever. New groups fill test and validation of their class up to
    their shares of its images, in an order that is random but fixed (by hash), and none goes beyond a share; the rest
    train. So a class whose data grows keeps its proportions without moving anything.
    """
    result: dict[str, Split] = {}
    for label in CLASSES:
        members = {key: group.count for key, group in groups.items() if group.label is label}
        result.update(_assign_class(members, known))
    return result


def _assign_class(counts: Mapping[str, int], known: Mapping[str, Split]) -> dict[str, Split]:
    result = {key: known[key] for key in counts if key in known}
    fresh = sorted(counts.keys() - result.keys(), key=_shuffled)
    for split in (Split.TEST, Split.VALIDATION):
        wanted = round(SHARES[split] * sum(counts.values()))
        held = sum(counts[key] for key, of in result.items() if of is split)
        for key in fresh:
            if key not in result and held + counts[key] <= wanted:
                result[key] = split
                held += counts[key]
    return {key: result.get(key, Split.TRAIN) for key in counts}


def _shuffled(key: str) -> str:
    return sha256(f"split {key}".encode()).hexdigest()
