"""Which split each group of identical images belongs to: stratified, 70/15/15, and never changed again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import islice

from braintumor.labels import CLASSES, TumorClass


class Split(StrEnum):
    """Train fits, validation tunes and picks, test passes or refuses."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


SHARES: Mapping[Split, float] = {Split.TRAIN: 0.70, Split.VALIDATION: 0.15, Split.TEST: 0.15}


def assign(groups: Mapping[str, TumorClass], known: Mapping[str, Split]) -> dict[str, Split]:
    """A split for every group key.

    A group that is in ``known`` keeps its split for ever. New groups fill test and validation of their class up to
    their shares, in an order that is random but fixed (by hash); the rest train. So a class whose data grows keeps
    its proportions without moving anything.
    """
    result: dict[str, Split] = {}
    for label in CLASSES:
        members = sorted((key for key, of in groups.items() if of is label), key=_shuffled)
        result.update(_assign_class(members, known))
    return result


def _assign_class(members: list[str], known: Mapping[str, Split]) -> dict[str, Split]:
    result = {key: known[key] for key in members if key in known}
    fresh = (key for key in members if key not in known)
    for split in (Split.TEST, Split.VALIDATION):
        wanted = round(SHARES[split] * len(members)) - sum(held is split for held in result.values())
        result.update(dict.fromkeys(islice(fresh, max(wanted, 0)), split))
    result.update(dict.fromkeys(fresh, Split.TRAIN))
    return result


def _shuffled(key: str) -> str:
    return sha256(f"split {key}".encode()).hexdigest()
