"""Count the images with patient identifiers, and state whether the splits are independent by patient.

Splits are independent by patient if no patient has images in two splits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from braintumor.labels import TumorClass

PATIENT, STUDY = "patient", "study"
"""Prefixes of the identifiers in ``LabeledImage.patient``."""
_PATIENT, _STUDY = f"{PATIENT} ", f"{STUDY} "
_CANNOT = "Patient independence cannot be verified"


@dataclass(frozen=True, kw_only=True)
class PatientIds:
    """Counts of images with patient or study identifiers. The identifiers themselves are never stored.

    Attributes:
        count_image: number of all images.
        count_identified: number of images with a patient or a study identifier.
        count_patient: number of images with a patient identifier.
        count_kept_from_test: number of images that are kept out of the test split because their patient is unknown.
            ``None`` if there is no table of patients, or if the settings allow these images in the test split.
        exempt: classes whose images may enter the test split without a patient, because too few patients are known.
    """

    count_image: int
    count_identified: int
    count_patient: int
    count_kept_from_test: int | None = None
    exempt: tuple[TumorClass, ...] = ()

    @classmethod
    def of(cls, identifiers: Iterable[Collection[str]]) -> Self:
        """Return the counts for images with these identifiers.

        Args:
            identifiers: one collection per image, in the form of ``LabeledImage.patient``.
        """
        images = list(identifiers)
        return cls(
            count_image=len(images),
            count_identified=sum(any(name.startswith((_PATIENT, _STUDY)) for name in names) for names in images),
            count_patient=sum(any(name.startswith(_PATIENT) for name in names) for names in images),
        )

    @property
    def test_rule(self) -> str:
        """Return a sentence on the images that are kept out of the test split because their patient is unknown.

        The text is empty if ``count_kept_from_test`` is ``None``.
        """
        if self.count_kept_from_test is None:
            return ""
        text = f"{self.count_kept_from_test:,} images without a patient are kept out of the test split."
        if self.exempt:
            names = " and ".join(self.exempt)
            text += f" Images of {names} may enter it without a patient, because too few patients are known there."
        return text

    @property
    def claim(self) -> str:
        """Return the display text that states whether the splits are independent by patient."""
        return f"{self._independence} {self.test_rule}".rstrip()

    @property
    def _independence(self) -> str:
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
    """Return a display text that says whether a patient can have images in more than one split.

    Args:
        identified: the snapshot's counts. ``None`` for a snapshot that an earlier program version took without counts.
    """
    if identified is None:
        return f"{_CANNOT}: whether images carry patient identifiers was not counted when the snapshot was taken."
    return identified.claim
