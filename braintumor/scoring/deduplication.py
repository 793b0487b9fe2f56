"""Find duplicates: scans with the same bytes, of which the model predicts only one.

A duplicate gets a copy of earlier predictions if model version, backend, preprocessing and second model are the same.
Predictions are never copied between two patients. A reviewer checks why one image has two patients (view
``cross_patient_duplicate``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.imaging.model_input import PreparedScan
from braintumor.scoring.outcomes import ScanFacts
from braintumor.scoring.predictions import same_prediction_values
from braintumor.scoring.run import ScoringRun


@dataclass(frozen=True, kw_only=True)
class ReadScan:
    """Hold a decoded scan that can be scored."""

    scan_id: int
    facts: ScanFacts
    frames: PreparedScan

    @property
    def count_frame(self) -> int:
        """Return the number of frames to score."""
        return len(self.frames.indexes)


@dataclass(frozen=True, kw_only=True)
class _Duplicate:
    """Describe the scored scans with the same bytes and the same patient.

    ``source_id`` is the ID of a scan whose predictions can be copied. It is ``None`` if no predictions can be copied.
    """

    patient_pseudonym: str | None
    source_id: int | None


@dataclass(kw_only=True)
class DuplicateIndex:
    """Find the duplicates in a claimed chunk, which equal a stored scan or an earlier scan of the chunk."""

    engine: Engine
    run: ScoringRun
    _in_claim: dict[str, list[_Duplicate]] = field(default_factory=lambda: defaultdict(list))

    def find(self, scans: Sequence[ReadScan]) -> dict[int, int]:
        """Return a mapping from the ID of each duplicate to the ID of the scan whose predictions are copied.

        The model must score every scan that is not in the mapping.
        """
        stored = self._find_stored(scans)
        sources: dict[int, int] = {}
        for scan in scans:
            content = scan.facts.content_sha256
            duplicates = stored[content] + self._in_claim[content]
            source_ids = [duplicate.source_id for duplicate in duplicates if duplicate.source_id is not None]
            if source_ids and not any(_is_of_another_patient(scan, duplicate) for duplicate in duplicates):
                sources[scan.scan_id] = source_ids[0]
            else:
                own = _Duplicate(patient_pseudonym=scan.facts.patient_pseudonym, source_id=scan.scan_id)
                self._in_claim[content].append(own)
        return sources

    def _find_stored(self, scans: Sequence[ReadScan]) -> dict[str, list[_Duplicate]]:
        duplicates: dict[str, list[_Duplicate]] = defaultdict(list)
        if not scans:
            return duplicates
        values = {
            "contents": [scan.facts.content_sha256 for scan in scans],
            "counts": [scan.count_frame for scan in scans],
            **same_prediction_values(self.run),
        }
        with transaction(self.engine) as connection:
            for row in connection.execute(statement("scoring/find_duplicates"), values):
                duplicates[row.content_sha256].append(
                    _Duplicate(patient_pseudonym=row.patient_pseudonym, source_id=row.source_id)
                )
        return duplicates


def _is_of_another_patient(scan: ReadScan, duplicate: _Duplicate) -> bool:
    own, other = scan.facts.patient_pseudonym, duplicate.patient_pseudonym
    return own is not None and other is not None and own != other
