"""Which answers would change, or have changed: one model's beside another's, frame by frame, the worst change first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.labels import TumorClass
from braintumor.registry.model_versions import ModelVersion
from braintumor.scoring.scored_scans import Unread
from braintumor.serving.activation_map import decode_map


class FlipKind(StrEnum):
    """How an answer would change, the worst first."""

    TO_NORMAL = "tumor to normal"
    TO_TUMOR = "normal to tumor"
    TO_OTHER_TUMOR = "tumor to another tumor"

    @staticmethod
    def of(before: TumorClass, after: TumorClass) -> FlipKind:
        """The kind of a change between two different classes."""
        if after is TumorClass.NORMAL:
            return FlipKind.TO_NORMAL
        return FlipKind.TO_TUMOR if before is TumorClass.NORMAL else FlipKind.TO_OTHER_TUMOR


@dataclass(frozen=True, kw_only=True)
class Transition:
    """How many answers would go from one class to another, or stay."""

    before: TumorClass
    after: TumorClass
    count: int

    @property
    def is_flip(self) -> bool:
        """Whether the answers change."""
        return self.before is not self.after

    @property
    def kind(self) -> FlipKind:
        """How they change, where they do."""
        return FlipKind.of(self.before, self.after)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flip:
    """One frame whose answer would change. Maps are float16 (h, w), logits of the class beside them.

    ``loss`` is by how much the probability of the standing answer's class falls.
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
        """How the answer would change."""
        return FlipKind.of(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Flips:
    """What a comparison found.

    Attributes:
        transitions: every pair of classes that occurs, flips first, the worst kinds before the others.
        flips: the worst ones, at most as many as a page shows.
    """

    transitions: Sequence[Transition] = ()
    flips: Sequence[Flip] = ()

    @property
    def count_compared(self) -> int:
        """Answers that were compared: one a frame."""
        return sum(transition.count for transition in self.transitions)

    @property
    def changes(self) -> list[Transition]:
        """The transitions that change an answer."""
        return [transition for transition in self.transitions if transition.is_flip]

    @property
    def count_flip(self) -> int:
        """Answers that change."""
        return sum(transition.count for transition in self.changes)

    @property
    def by_kind(self) -> dict[FlipKind, int]:
        """Number of flips of each kind, the worst kind first."""
        counts: Counter[FlipKind] = Counter()
        for transition in self.changes:
            counts[transition.kind] += transition.count
        return {kind: counts[kind] for kind in FlipKind}


@dataclass(frozen=True, kw_only=True)
class FlipPreview(Flips):
    """What was compared and what would change.

    Attributes:
        candidate: name of the model in the shadow.
        champion: name of the model whose answers stand; empty where there was none.
        count_scan: scans that were taken up.
        unread: of these, how many could not be read again, and why.
        why_nothing: why nothing was compared; empty where something was to be.
    """

    candidate: str
    champion: str = ""
    count_scan: int = 0
    unread: Mapping[Unread, int] = field(default_factory=Counter)
    why_nothing: str = ""


def compare(
    engine: Engine, *, champion: ModelVersion, candidate: ModelVersion, scan_ids: Sequence[int], shown: int
) -> Flips:
    """What a candidate's shadow predictions would change of the champion's answers, with the ``shown`` worst flips."""
    values = {
        "champion": champion.model_version_id,
        "candidate": candidate.model_version_id,
        "scans": list(scan_ids),
    }
    return find_flips(engine, _SHADOW, values, shown=shown)


def find_flips(engine: Engine, pairs: str, values: Mapping[str, object], *, shown: int) -> Flips:
    """Every transition, counted, and the ``shown`` worst flips.

    ``pairs`` is SQL from ``from`` on, with ``values`` for its parameters: one row a frame, in which ``before_answer``
    and ``after_answer`` are the rows of its two answers.
    """
    with transaction(engine) as connection:
        transitions = _transitions(connection, pairs, values)
        flips = _worst(connection, pairs, {**values, "shown": shown})
    return Flips(transitions=transitions, flips=flips)


_SHADOW = """
    from prediction as before_answer
    join shadow_prediction as after_answer using (scan_id, frame_index)
    where before_answer.model_version_id = :champion
      and after_answer.model_version_id = :candidate
      and scan_id = any(:scans)"""

_COMPARED = """
    with compared as (
        select
            before_answer.scan_id,
            before_answer.frame_index,
            before_answer.predicted_class as before,
            before_answer.confidence as before_confidence,
            before_answer.activation_map as before_map,
            after_answer.predicted_class as after,
            after_answer.confidence as after_confidence,
            after_answer.activation_map as after_map,
            before_answer.confidence - case before_answer.predicted_class
                when 'glioma' then after_answer.probability_glioma
                when 'meningioma' then after_answer.probability_meningioma
                when 'normal' then after_answer.probability_normal
                when 'pituitary' then after_answer.probability_pituitary
            end as loss
        {pairs}
    )"""

_SEVERITY = """
    case when before = after then 3 when after = 'normal' then 0 when before = 'normal' then 1 else 2 end"""


def _transitions(connection: Connection, pairs: str, values: Mapping[str, object]) -> list[Transition]:
    rows = connection.execute(
        text(f"""
        {_COMPARED.format(pairs=pairs)}
        select before::text, after::text, count(*) as count_answer
        from compared
        group by before, after
        order by {_SEVERITY}, count_answer desc, before, after"""),
        values,
    )
    return [
        Transition(before=TumorClass(row.before), after=TumorClass(row.after), count=row.count_answer) for row in rows
    ]


def _worst(connection: Connection, pairs: str, values: Mapping[str, object]) -> list[Flip]:
    rows = connection.execute(
        text(f"""
        {_COMPARED.format(pairs=pairs)}
        select
            scan_id, frame_index, before::text, before_confidence, before_map, after::text, after_confidence, after_map,
            loss
        from compared
        where before <> after
        order by {_SEVERITY}, loss desc, scan_id, frame_index
        limit :shown"""),
        values,
    )
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
