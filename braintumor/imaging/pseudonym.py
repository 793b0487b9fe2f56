"""Create pseudonyms: identifiers that join rows and identify no person.

They are keyed (HMAC-SHA256, RFC 2104), because patient and study identifiers are guessable. A table of unkeyed hashes
of every possible hospital number takes little time to compute. DICOM requires the same of replaced identifiers
(PS3.15 E.1.1): consistent within a set, and irreversible without the key.
"""

from __future__ import annotations

import hmac
from typing import Literal

_LENGTH = 32
"""Hex digits, which are 128 bits and make an accidental collision very unlikely."""


def pseudonym(value: str, *, kind: Literal["study", "series", "patient"], key: bytes) -> str | None:
    """Return 32 hex digits for ``value``, or ``None`` for an empty value. Kinds do not share pseudonyms.

    Blanks and NULs around the value do not count, because DICOM pads values to even length.
    """
    stripped = value.strip(" \t\r\n\0")
    if not stripped:
        return None
    return hmac.new(key, f"{kind}\0{stripped}".encode(), "sha256").hexdigest()[:_LENGTH]


def erased_mark(pseudonym: str, *, key: bytes) -> str:
    """Return the record of an erased person: a keyed hash of the pseudonym, which does not reveal the pseudonym."""
    return hmac.new(key, f"erased\0{pseudonym}".encode(), "sha256").hexdigest()
