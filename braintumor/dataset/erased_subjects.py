"""Recognize files of erased people, and prevent erasures while other code writes images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.dataset.images.labeled_image import ExcludedImage, LabeledImage, pseudonymize
from braintumor.dataset.images.patient_ids import PATIENT, STUDY
from braintumor.db.database import advisory_lock, transaction
from braintumor.imaging.pseudonym import erased_mark

IMAGES = "images"
"""The name of the lock. Writers of images share it, and an erasure holds it exclusively."""
_EXCLUDED = ExcludedImage(
    image_uri="(not named)",
    reason="of a person who was erased: run `braintumor subject erase` again for that person",
)
"""Without address and sha256, because both are personal data."""


@contextmanager
def writing_images(engine: Engine) -> Iterator[None]:
    """Prevent erasures while the body reads images and writes images, pages or rows about them.

    Bodies can be nested, because an erasure tries the lock and never waits for it.
    """
    with transaction(engine) as connection:
        advisory_lock(connection, IMAGES, is_shared=True)
        yield


@dataclass(frozen=True, kw_only=True)
class ErasedSubjects:
    """Keyed marks of erased people and of their files, and the key."""

    marks: frozenset[str]
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, engine: Engine, key: bytes) -> Self:
        """Read the marks from the database."""
        return cls(marks=_marks(engine), key=key)

    def holds(self, *names: str | None) -> bool:
        """Return whether one of the pseudonyms or hashes belongs to an erased person."""
        return bool(self.marks) and any(name and erased_mark(name, key=self.key) in self.marks for name in names)

    def holds_scan(self, patient: str | None, *others: str | None) -> bool:
        """Return whether a scan is of an erased person: by its patient, or else by its study, file and pixels."""
        return self.holds(patient) if patient else self.holds(*others)

    def holds_image(self, image: LabeledImage) -> bool:
        """Return whether an image is of an erased person: by its file, its pixels, its patient, or else its study."""
        return self.holds(image.image_sha256, image.pixel_sha256) or self.holds_scan(*identity_of(image, self.key))


def identity_of(image: LabeledImage, key: bytes) -> tuple[str | None, str | None]:
    """Return the pseudonyms of a labeled image's patient and study."""
    pseudonyms = dict(name.split(" ", 1) for name in pseudonymize(image, key).patient)
    return pseudonyms.get(PATIENT), pseudonyms.get(STUDY)


def without_erased(
    engine: Engine, settings: Settings, images: Sequence[LabeledImage], excluded: Sequence[ExcludedImage]
) -> tuple[list[LabeledImage], list[ExcludedImage], list[ExcludedImage]]:
    """Remove the files of erased people from images and excluded images.

    Returns:
        The remaining images, the remaining excluded images, and one anonymous entry per removed file.

    Raises:
        ConfigurationError: there are erased people, and the settings have no key for pseudonyms.
    """
    marks = _marks(engine)
    if not marks:
        return list(images), list(excluded), []
    erased = ErasedSubjects(marks=marks, key=settings.require("pseudonym_key").encode())
    kept = [image for image in images if not erased.holds_image(image)]
    others = [item for item in excluded if not erased.holds(item.image_sha256)]
    count = len(images) + len(excluded) - len(kept) - len(others)
    return kept, others, [_EXCLUDED] * count


def _marks(engine: Engine) -> frozenset[str]:
    with transaction(engine) as connection:
        return frozenset(
            connection.scalars(
                text("select subject_mark from erased_subject union select content_mark from erased_content")
            )
        )
