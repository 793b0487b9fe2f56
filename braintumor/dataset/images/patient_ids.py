"""Count the images with patient identifiers, and state whether the splits are independent by patient."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

PATIENT, STUDY = "patient", "study"
"""Prefixes of the identifiers in ``LabeledImage.patient``."""
_PATIENT, _STUDY = f"{PATIENT} ", f"{STUDY} "
_CANNOT = "Patient independence cannot be verified"


@dataclass(frozen=True, kw_only=True)
class PatientIds:
    """Counts of identified images. The identifiers themselves are never stored.

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
        """Count images by their identifiers, each in the form of ``LabeledImage.patient``."""
        images = list(identifiers)
        return cls(
            count_image=len(images),
            count_identified=sum(any(name.startswith((_PATIENT, _STUDY)) for name in names) for names in images),
            count_patient=sum(any(name.startswith(_PATIENT) for name in names) for names in images),
        )

    @property
    def claim(self) -> str:
        """Display text about the independence of the splits by patient."""
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
                "patient identifier. Images with a common identifier are kept together. A patient's studies may not be."
            )
        return (
            f"{_CANNOT}: only {self.count_identified:,} of {total} images carry a patient or study identifier. "
            "Images with a common identifier are kept together. Of the others, near-duplicates are."
        )


def claim_of_patients(identified: PatientIds | None) -> str:
    """Return the claim of a snapshot. ``None`` is a snapshot of an earlier version, without these counts."""
    if identified is None:
        return f"{_CANNOT}: whether images carry patient identifiers was not counted when the snapshot was taken."
    return identified.claim
