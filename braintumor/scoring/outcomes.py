"""Define the outcomes of scoring one scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from braintumor.imaging.decoding.dicom_header import ScanAttributes
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.serving.prediction import Prediction


@dataclass(frozen=True, kw_only=True)
class HeaderFacts(ScanAttributes):
    """Hold the facts of a DICOM header that become columns of ``scan``. Pseudonyms are keyed hashes.

    For a file that is not DICOM, all these facts are ``None``.
    """

    study_pseudonym: str | None = None
    series_pseudonym: str | None = None
    patient_pseudonym: str | None = None
    site_pseudonym: str | None = None
    station_pseudonym: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScanFacts(HeaderFacts):
    """Hold the facts of a decoded file that become columns of ``scan``.

    ``audit_probability`` is the probability of the draw if the scan was drawn into the audit sample, otherwise
    ``None``.
    """

    format: str
    content_sha256: str
    pixel_sha256: str
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
    """Hold the rejection of a scan that cannot be scored, with the facts of its header if it could be read."""

    name: ClassVar[str] = "rejected"

    scan_id: int
    rejection: Rejection
    facts: HeaderFacts = field(default_factory=HeaderFacts)


@dataclass(frozen=True, kw_only=True)
class SupersededOutcome:
    """Mark a scan whose object was overwritten or removed after the listing. The next run lists the current version."""

    name: ClassVar[str] = "superseded"

    scan_id: int


Outcome = ScoredOutcome | CopiedOutcome | RejectedOutcome | SupersededOutcome
