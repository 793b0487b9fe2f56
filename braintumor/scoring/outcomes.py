"""What scoring one scan ended with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from braintumor.imaging.decoding.rejection import Rejection
from braintumor.serving.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """What reading a scan found out about it, beside its frames: columns of ``scan``.

    Pseudonyms are keyed, never raw identifiers. ``audit_probability`` is that with which the scan was drawn into the
    audit sample, before it was scored; ``None`` where it was not drawn.
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
    """A scan with one answer per frame."""

    name: ClassVar[str] = "scored"

    scan_id: int
    facts: ScanFacts
    answers: tuple[Prediction, ...]

    @property
    def count_frame(self) -> int:
        """How many frames have an answer."""
        return len(self.answers)


@dataclass(frozen=True, kw_only=True)
class CopiedOutcome:
    """A scan that takes over the answers of ``original_id``: of the same bytes, and settled before it or with it."""

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
    """A scan whose object was overwritten or removed after it was listed: the next run finds what is there now."""

    name: ClassVar[str] = "superseded"

    scan_id: int


Outcome = ScoredOutcome | CopiedOutcome | RejectedOutcome | SupersededOutcome
