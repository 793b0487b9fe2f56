"""Recognize files of erased people, and prevent erasures while other code writes images.

A keyed mark is an HMAC-SHA256 of a pseudonym or a file hash. The database keeps the marks of
erased people and their files. A mark recognizes a person or a file without naming them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage, pseudonyms_of
from braintumor.dataset.images.patient_ids import PATIENT, STUDY
from braintumor.db.database import advisory_lock, transaction
from braintumor.imaging.pseudonym import erased_mark

IMAGES = "images"
"""Name of the Postgres advisory lock. Code that writes images holds it in shared mode, an erasure in exclusive mode."""
_EXCLUDED = ExcludedImage(
    image_uri="(not named)", reason="of a person who was erased: run `braintumor subject erase` again for that person"
)
"""The entry in the list of excluded images for each file of an erased person.

It has no address and no sha256, because both are personal data.
"""


@contextmanager
def writing_images(engine: Engine) -> Iterator[None]:
    """Prevent erasures while the ``with`` block of this context manager runs.

    Use it for code that reads images and then writes images, pages about images, or rows about images. The blocks can
    be nested. No erasure blocks the inner block, because an erasure tries the lock once and never waits for it.
    """
    with transaction(engine) as connection:
        advisory_lock(connection, IMAGES, is_shared=True)
        yield


@dataclass(frozen=True, kw_only=True)
class ErasedSubjects:
    """Keyed marks of erased people and of their files.

    Attributes:
        marks: keyed marks of patient and study pseudonyms, and of the sha256 of file bytes and pixels.
        key: secret key of the HMAC. Pseudonyms are made with the same key.
    """

    marks: frozenset[str]
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, engine: Engine, key: bytes) -> Self:
        """Return the marks that the database stores. ``key`` is the key of the pseudonyms."""
        return cls(marks=_marks(engine), key=key)

    def holds(self, *names: str | None) -> bool:
        """Return whether one of ``names``, which are pseudonyms and hashes, belongs to an erased person."""
        return bool(self.marks) and any(name and erased_mark(name, key=self.key) in self.marks for name in names)

    def holds_scan(self, patient: str | None, *others: str | None) -> bool:
        """Return whether a scan is of an erased person.

        Args:
            patient: pseudonym of the scan's patient. If it is not ``None``, only its mark counts.
            others: pseudonym of the scan's study, and hashes of its file and pixels. If ``patient`` is ``None``, their
                marks count.
        """
        return self.holds(patient) if patient else self.holds(*others)

    def holds_image(self, image: LabeledImage | ExcludedImage, patient: str | None = None) -> bool:
        """Return whether a labeled or excluded image is of an erased person.

        The result is true if the hash of the file, the hash of the pixels or the patient has a mark. If the DICOM
        header names no patient, a mark of the study is enough.

        Args:
            image: the image, with the patient and study identifiers of its DICOM header.
            patient: pseudonym of the patient in the table of patients, if there is one.
        """
        return self.holds(*hashes_of(image), patient) or self.holds_scan(*identity_of(image, self.key))


def hashes_of(image: LabeledImage | ExcludedImage) -> set[str]:
    """Return the sha256 of the file's bytes, and of the pixels of a labeled image. Unknown hashes are left out."""
    pixels = image.pixel_sha256 if isinstance(image, LabeledImage) else ""
    return {image.image_sha256, pixels} - {""}


def identity_of(image: LabeledImage | ExcludedImage, key: bytes) -> tuple[str | None, str | None]:
    """Return the pseudonyms of the patient and study of a labeled or excluded image, in this order.

    A pseudonym is ``None`` if the DICOM header lacks the identifier.
    """
    pseudonyms = dict(pseudonyms_of(image.patient, key))
    return pseudonyms.get(PATIENT), pseudonyms.get(STUDY)


def without_erased(
    engine: Engine,
    settings: Settings,
    images: Sequence[LabeledImage],
    excluded: Sequence[ExcludedImage],
    *,
    patients: Mapping[str, str],
) -> tuple[list[LabeledImage], list[ExcludedImage], list[ExcludedImage]]:
    """Remove the files of erased people from the images and from the excluded images of a new snapshot.

    Args:
        engine: the database.
        settings: the settings with the key of the pseudonyms.
        images: labeled images, with the patient and study identifiers of their DICOM headers.
        excluded: files that are already excluded for other reasons.
        patients: pseudonym of the patient by sha256 of the file, from the table of patients.

    Returns:
        The remaining images, the remaining excluded images, and one anonymous entry per removed file, in this order.

    Raises:
        ConfigurationError: there are erased people, and the settings have no key for pseudonyms.
    """
    marks = _marks(engine)
    if not marks:
        return list(images), list(excluded), []
    erased = ErasedSubjects(marks=marks, key=settings.require("pseudonym_key").encode())
    kept = [image for image in images if not erased.holds_image(image, patients.get(image.image_sha256))]
    others = [item for item in excluded if not erased.holds_image(item, patients.get(item.image_sha256))]
    count = len(images) + len(excluded) - len(kept) - len(others)
    return kept, others, [_EXCLUDED] * count


def _marks(engine: Engine) -> frozenset[str]:
    with transaction(engine) as connection:
        return frozenset(
            connection.scalars(
                text("select subject_mark from erased_subject union select content_mark from erased_content")
            )
        )
