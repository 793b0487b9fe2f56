"""What a person can say of a frame, by which key, and how it is put into words."""

from __future__ import annotations

from enum import StrEnum

from braintumor.labels import TumorClass


class Finding(StrEnum):
    """The seven answers; the first four are the classes."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    NORMAL = "normal"
    PITUITARY = "pituitary"
    OTHER_FINDING = "other_finding"
    UNUSABLE_IMAGE = "unusable_image"
    CANNOT_TELL = "cannot_tell"

    @property
    def words(self) -> str:
        """As a person reads it."""
        return _WORDS.get(self, self.value)

    @property
    def key(self) -> str:
        """The key that gives it."""
        return _KEYS[self]


_KEYS = dict(zip(Finding, "1234560", strict=True))
_WORDS = {
    Finding.NORMAL: "none of the three tumors",
    Finding.OTHER_FINDING: "another finding",
    Finding.UNUSABLE_IMAGE: "unusable image",
    Finding.CANNOT_TELL: "cannot tell",
}


def class_words(name: str) -> str:
    """A class as a person reads it: ``normal`` is no finding of health, only of none of the three."""
    return Finding(TumorClass(name).value).words


def reason_words(reason: str) -> str:
    """A review reason as a person reads it."""
    return reason.replace("_", " ")
