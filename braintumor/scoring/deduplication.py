"""Copies: scans of the same bytes, of which a model is asked once.

An answer is taken over where model version, engine, preprocessing and second model are equal, and never from another
patient: that the same picture is filed under two patients is for a person to look at (view
``same_content_other_patient``), and both are scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.scoring.outcomes import ScanFacts
from braintumor.scoring.predictions import SAME_PREDICTION, of_same_prediction
from braintumor.scoring.run import ScoringRun


@dataclass(frozen=True, kw_only=True)
class ReadScan:
    """A scan that was read and can be scored, and how many frames it has."""

    scan_id: int
    facts: ScanFacts
    count_frame: int


@dataclass(frozen=True, kw_only=True)
class _Duplicate:
    """Scored scans of the same bytes; ``answered_id``: one whose answers can be taken over."""

    patient_pseudonym: str | None
    answered_id: int | None


@dataclass(kw_only=True)
class DuplicateIndex:
    """Whose answers the scans of one claim take over; remembers those that it said are to be scored."""

    engine: Engine
    run: ScoringRun
    _of_this_claim: dict[str, list[_Duplicate]] = field(default_factory=lambda: defaultdict(list))

    def find(self, scans: Iterable[ReadScan]) -> dict[int, int]:
        """Id of a copy -> id of the scan whose answers it takes over; what is not in it is to be scored."""
        scans = list(scans)
        in_ledger = self._in_ledger(scans)
        found: dict[int, int] = {}
        for scan in scans:
            content = scan.facts.content_sha256
            twins = in_ledger[content] + self._of_this_claim[content]
            answered = [twin.answered_id for twin in twins if twin.answered_id is not None]
            if answered and not any(_is_of_another_patient(scan, twin) for twin in twins):
                found[scan.scan_id] = answered[0]
            else:
                mine = _Duplicate(patient_pseudonym=scan.facts.patient_pseudonym, answered_id=scan.scan_id)
                self._of_this_claim[content].append(mine)
        return found

    def _in_ledger(self, scans: list[ReadScan]) -> dict[str, list[_Duplicate]]:
        if not scans:
            return {}
        values = {
            "contents": [scan.facts.content_sha256 for scan in scans],
            "counts": [scan.count_frame for scan in scans],
            **of_same_prediction(self.run),
        }
        twins: dict[str, list[_Duplicate]] = defaultdict(list)
        with transaction(self.engine) as connection:
            for row in connection.execute(text(_DUPLICATES), values):
                twins[row.content_sha256].append(
                    _Duplicate(patient_pseudonym=row.patient_pseudonym, answered_id=row.answered_id)
                )
        return twins


def _is_of_another_patient(scan: ReadScan, twin: _Duplicate) -> bool:
    own, other = scan.facts.patient_pseudonym, twin.patient_pseudonym
    return own is not None and other is not None and own != other


_DUPLICATES = f"""
    with wanted as (
        select distinct content_sha256, count_frame
        from unnest(cast(:contents as text[]), cast(:counts as integer[])) as scan (content_sha256, count_frame)
    )
    select
        scan.content_sha256,
        scan.patient_pseudonym,
        min(scan.scan_id) filter (where scan.count_frame = wanted.count_frame and scan.count_frame = (
            select count(*)
            from prediction
            where prediction.scan_id = scan.scan_id and {SAME_PREDICTION})) as answered_id
    from wanted
    join scan using (content_sha256)
    where scan.state = 'scored'
    group by scan.content_sha256, scan.patient_pseudonym
    order by answered_id"""
