"""Define the outcomes of scoring one scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from braintumor.imaging.decoding.rejection import Rejection
from braintumor.serving.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """Hold the facts of a decoded file that become columns of ``scan``.

    Pseudonyms are keyed, never raw identifiers. ``audit_probability`` is the probability of being drawn into the audit
    sample. The draw happens before scoring. It is ``None`` if the scan was not drawn.
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
    """A scan with one prediction per frame."""

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
    """A duplicate that copies the predictions of ``original_id``, a scan with the same bytes.

    The original is committed earlier or in the same transaction.
    """

    name: ClassVar[str] = "copied"

    scan_id: int
    facts: ScanFacts
    original_id: int
    count_frame: int


@dataclass(frozen=True, kw_only=True)
class RejectedOutcome:
    """A scan that cannot be scored."""

    name: ClassVar[str] = "rejected"

    scan_id: int
    rejection: Rejection


@dataclass(frozen=True, kw_only=True)
class SupersededOutcome:
    """A scan whose object was overwritten or removed after the listing. The next run finds the current version."""

    name: ClassVar[str] = "superseded"

    scan_id: int


Outcome = ScoredOutcome | CopiedOutcome | RejectedOutcome | SupersededOutcome
