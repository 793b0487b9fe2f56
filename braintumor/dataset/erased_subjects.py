"""Recognize files of people who were erased, and keep erasures apart from everything that writes images."""

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
"""The name of the lock. Who writes images shares it, and an erasure has it alone."""
_LEFT_OUT = ExcludedImage(
    image_uri="(not named)",
    reason="of a person who was erased: run `braintumor subject erase` again for that person",
)
"""Neither the address nor the sha256 is repeated, because both are data about the person."""


@contextmanager
def writing_images(engine: Engine) -> Iterator[None]:
    """Keep erasures out while the body reads images and writes pictures, pages or rows about them.

    An erasure tries the lock and never waits for it, so bodies may be nested.
    """
    with transaction(engine) as connection:
        advisory_lock(connection, IMAGES, is_shared=True)
        yield


@dataclass(frozen=True, kw_only=True)
class ErasedSubjects:
    """Marks of erased people and of their files, and the key that makes a mark of a name."""

    marks: frozenset[str]
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, engine: Engine, key: bytes) -> Self:
        """Read the marks from the database."""
        return cls(marks=_marks(engine), key=key)

    def holds(self, *names: str | None) -> bool:
        """Check whether one of the pseudonyms or hashes belongs to an erased person."""
        return bool(self.marks) and any(name and erased_mark(name, key=self.key) in self.marks for name in names)

    def holds_scan(self, patient: str | None, *others: str | None) -> bool:
        """Check a scan: by its patient, or by its study, file and pixels where it names no patient."""
        return self.holds(patient) if patient else self.holds(*others)

    def holds_image(self, image: LabeledImage) -> bool:
        """Check a labeled image: by its file, its pixels, its patient, or its study where it names no patient."""
        return self.holds(image.image_sha256, image.pixel_sha256) or self.holds_scan(*identity_of(image, self.key))


def identity_of(image: LabeledImage, key: bytes) -> tuple[str | None, str | None]:
    """Return the pseudonyms of the patient and the study that a labeled image names."""
    named = dict(one.split(" ", 1) for one in pseudonymize(image, key).patient)
    return named.get(PATIENT), named.get(STUDY)


def without_erased(
    engine: Engine, settings: Settings, images: Sequence[LabeledImage], excluded: Sequence[ExcludedImage]
) -> tuple[list[LabeledImage], list[ExcludedImage], list[ExcludedImage]]:
    """Take the files of erased people out of what was read.

    Returns:
        The images that stay, the files left out that stay, and one unnamed entry per file that was taken out.

    Raises:
        ConfigurationError: people were erased, and the settings have no key for pseudonyms.
    """
    marks = _marks(engine)
    if not marks:
        return list(images), list(excluded), []
    erased = ErasedSubjects(marks=marks, key=settings.require("pseudonym_key").encode())
    kept = [image for image in images if not erased.holds_image(image)]
    others = [item for item in excluded if not erased.holds(item.image_sha256)]
    count = len(images) + len(excluded) - len(kept) - len(others)
    return kept, others, [_LEFT_OUT] * count


def _marks(engine: Engine) -> frozenset[str]:
    with transaction(engine) as connection:
        return frozenset(
            connection.scalars(
                text("select subject_mark from erased_subject union select content_mark from erased_content")
            )
        )
