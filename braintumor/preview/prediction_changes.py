"""Compare the predictions of two models frame by frame, and list the changes, the most severe first.

A frame whose predicted class changes is a flip (Yan et al., Positive-Congruent Training, CVPR 2021). ``before`` is the
class in the current prediction, or in the champion's. ``after`` is the class that the candidate or the rescoring model
predicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.labels import TumorClass
from braintumor.scoring.reading import ReadFailure
from braintumor.serving.activation_map import decode_map


class FlipKind(StrEnum):
    """Name the kinds of a flip, the most severe first."""

    TO_NORMAL = "tumor to normal"
    TO_TUMOR = "normal to tumor"
    TO_OTHER_TUMOR = "tumor to another tumor"

    @staticmethod
    def of(before: TumorClass, after: TumorClass) -> FlipKind:
        """Return the kind of a flip from the class ``before`` to another class ``after``."""
        if after is TumorClass.NORMAL:
            return FlipKind.TO_NORMAL
        return FlipKind.TO_TUMOR if before is TumorClass.NORMAL else FlipKind.TO_OTHER_TUMOR


@dataclass(frozen=True, kw_only=True)
class Transition:
    """Count the frames whose class changes from ``before`` to ``after``, or stays the same."""

    before: TumorClass
    after: TumorClass
    count: int

    @property
    def is_flip(self) -> bool:
        """Return whether the class changes."""
        return self.before is not self.after

    @property
    def kind(self) -> FlipKind:
        """Return the kind of the flip. The two classes must differ."""
        return FlipKind.of(self.before, self.after)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flip:
    """Hold one frame whose predicted class changes.

    ``before_map`` and ``after_map`` are activation maps of the predicted class, float16 (h, w), in logits.
    ``loss`` is the decrease of the probability of the class ``before``.
    """

    scan_id: int
    frame_index: int
    before: TumorClass
    before_confidence: float
    before_map: NDArray[np.float16] = field(repr=False)
    after: TumorClass
    after_confidence: float
    after_map: NDArray[np.float16] = field(repr=False)
    loss: float

    @property
    def kind(self) -> FlipKind:
        """Return the kind of the flip."""
        return FlipKind.of(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Hold the result of a comparison of two models.

    ``transitions`` has one entry per pair of classes that occurs, the most severe kinds of change first. ``flips`` has
    only the most severe flips, for a page.
    """

    transitions: Sequence[Transition] = ()
    flips: Sequence[Flip] = ()

    @property
    def count_compared(self) -> int:
        """Return the number of compared predictions, one per frame."""
        return sum(transition.count for transition in self.transitions)

    @property
    def changes(self) -> list[Transition]:
        """Return the transitions between different classes."""
        return [transition for transition in self.transitions if transition.is_flip]

    @property
    def count_flip(self) -> int:
        """Return the number of predictions that change."""
        return sum(transition.count for transition in self.changes)

    @property
    def by_kind(self) -> dict[FlipKind, int]:
        """Return the number of flips of each kind, the most severe kind first."""
        counts: Counter[FlipKind] = Counter()
        for transition in self.changes:
            counts[transition.kind] += transition.count
        return {kind: counts[kind] for kind in FlipKind}


@dataclass(frozen=True, kw_only=True)
class FlipPreview(Flips):
    """Hold the prediction changes that promoting a candidate would cause.

    ``count_scan`` is the number of scans selected for the comparison. ``failures`` counts those that could not be read
    again, by reason. If nothing was compared, ``why_nothing`` is a text that says why.
    """

    candidate: str
    champion: str = ""
    count_scan: int = 0
    failures: Mapping[ReadFailure, int] = field(default_factory=Counter)
    why_nothing: str = ""


def find_flips(engine: Engine, pairs: str, values: Mapping[str, object], *, shown: int) -> Flips:
    """Return the number of frames of each transition, and the ``shown`` most severe flips.

    ``pairs`` is the name of a file in ``sql/statements/`` that holds a ``from`` clause with one row per frame. The two
    predictions of a frame have the aliases ``before_prediction`` and ``after_prediction``. ``values`` has the
    parameters of the clause.
    """
    with transaction(engine) as connection:
        transitions = _transitions(connection, pairs, values)
        flips = _worst(connection, pairs, {**values, "shown": shown})
    return Flips(transitions=transitions, flips=flips)


def _transitions(connection: Connection, pairs: str, values: Mapping[str, object]) -> list[Transition]:
    rows = connection.execute(statement("preview/count_transitions", pairs=pairs), values)
    return [
        Transition(before=TumorClass(row.before), after=TumorClass(row.after), count=row.count_frame) for row in rows
    ]


def _worst(connection: Connection, pairs: str, values: Mapping[str, object]) -> list[Flip]:
    rows = connection.execute(statement("preview/worst_changes", pairs=pairs), values)
    return [
        Flip(
            scan_id=row.scan_id,
            frame_index=row.frame_index,
            before=TumorClass(row.before),
            before_confidence=row.before_confidence,
            before_map=decode_map(row.before_map),
            after=TumorClass(row.after),
            after_confidence=row.after_confidence,
            after_map=decode_map(row.after_map),
            loss=row.loss,
        )
        for row in rows
    ]
