"""Define the outcomes of scoring one scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from braintumor.imaging.decoding.rejection import Rejection
from braintumor.serving.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """Hold the facts of a decoded file that become columns of ``scan``. Pseudonyms are keyed hashes.

    ``audit_probability`` is the probability of the draw if the scan was drawn into the audit sample, otherwise
    ``None``.
    """

    format: str
    content_sha256: str
    pixel_sha256: str
    study_pseudonym: str | None
    series_pseudonym: str | None
    patient_pseudonym: str | None
    audit_probability: float | None


@dataclass(frozen=True, kw_only=True)
class ScoredOutcome:
    """Hold the predictions of a scored scan, one per frame."""

    name: ClassVar[str] = "scored"

    scan_id: int
    facts: ScanFacts
    predictions: tuple[Prediction, ...]

    @property
    def count_frame(self) -> int:
        """Return the number of frames with a prediction."""
        return len(self.predictions)


@dataclass(frozen=True, kw_only=True)
class CopiedOutcome:
    """Mark a duplicate, which gets copies of the predictions of another scan.

    ``original_id`` is the ID of that scan, which is committed before the duplicate or together with it.
    """

    name: ClassVar[str] = "copied"

    scan_id: int
    facts: ScanFacts
    original_id: int
    count_frame: int


@dataclass(frozen=True, kw_only=True)
class RejectedOutcome:
    """Hold the rejection of a scan that cannot be scored."""

    name: ClassVar[str] = "rejected"

    scan_id: int
    rejection: Rejection


@dataclass(frozen=True, kw_only=True)
class SupersededOutcome:
    """Mark a scan whose object was overwritten or removed after the listing. The next run lists the current version."""

    name: ClassVar[str] = "superseded"

    scan_id: int


Outcome = ScoredOutcome | CopiedOutcome | RejectedOutcome | SupersededOutcome
