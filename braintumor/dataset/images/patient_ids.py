"""How many images say whose they are, which bounds what can be claimed of patients."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

PATIENT, STUDY = "patient", "study"
"""What the identifiers of ``LabeledImage.patient`` begin with."""
_PATIENT, _STUDY = f"{PATIENT} ", f"{STUDY} "
_CANNOT = "Patient independence cannot be verified"


@dataclass(frozen=True, kw_only=True)
class PatientIds:
    """Counts only: the identifiers themselves are never stored.

    Attributes:
        count_image: number of images.
        count_identified: of these, with a patient or a study identifier.
        count_patient: of these, with a patient identifier.
    """

    count_image: int
    count_identified: int
    count_patient: int

    @classmethod
    def of(cls, identifiers: Iterable[Collection[str]]) -> Self:
        """Count images by the identifiers that each of them carries, as ``LabeledImage.patient`` has them."""
        carried = list(identifiers)
        return cls(
            count_image=len(carried),
            count_identified=sum(1 for each in carried if any(one.startswith((_PATIENT, _STUDY)) for one in each)),
            count_patient=sum(1 for each in carried if any(one.startswith(_PATIENT) for one in each)),
        )

    @property
    def claim(self) -> str:
        """What can be claimed of patients: that they are kept together only where every image names its own."""
        total = f"{self.count_image:,}"
        if self.count_identified == 0:
            return f"{_CANNOT}: the images carry no patient identifiers."
        if self.count_patient == self.count_image:
            return (
                f"Patients are kept together: all {total} images carry a patient identifier, and no patient's images "
                "are in two splits."
            )
        if self.count_identified == self.count_image:
            return (
                f"{_CANNOT}: all {total} images carry a patient or study identifier, but only {self.count_patient:,} a "
                "patient identifier. What shares an identifier is kept together; a patient's studies may not be."
            )
        return (
            f"{_CANNOT}: only {self.count_identified:,} of {total} images carry a patient or study identifier. What "
            "shares an identifier is kept together; of the others, near-duplicates are."
        )


def claim_of_patients(identified: PatientIds | None) -> str:
    """What can be claimed of a snapshot's patients; ``None`` is one that was taken before this was counted."""
    if identified is None:
        return f"{_CANNOT}: whether images carry patient identifiers was not counted when the snapshot was taken."
    return identified.claim
