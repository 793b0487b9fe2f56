"""Define the findings of a reviewer, their keyboard keys and their names on the page."""

from __future__ import annotations

from enum import StrEnum

from braintumor.labels import TumorClass


class Finding(StrEnum):
    """List the seven findings that a reviewer can select. The first four are the model's classes."""

    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    NORMAL = "normal"
    PITUITARY = "pituitary"
    OTHER_FINDING = "other_finding"
    UNUSABLE_IMAGE = "unusable_image"
    CANNOT_TELL = "cannot_tell"

    @property
    def words(self) -> str:
        """Return the name of the finding on the page."""
        return _WORDS.get(self, self.value)

    @property
    def key(self) -> str:
        """Return the keyboard key of the finding."""
        return _KEYS[self]


_KEYS = dict(zip(Finding, "1234560", strict=True))
_WORDS = {
    Finding.NORMAL: "none of the three tumors",
    Finding.OTHER_FINDING: "another finding",
    Finding.UNUSABLE_IMAGE: "unusable image",
    Finding.CANNOT_TELL: "cannot tell",
}


def class_words(name: str) -> str:
    """Return the name of a class on the page. ``normal`` becomes "none of the three tumors"."""
    return Finding(TumorClass(name).value).words


def reason_words(reason: str) -> str:
    """Return the name of a review reason on the page."""
    return reason.replace("_", " ")
