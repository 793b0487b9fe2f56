"""Pseudonyms: identifiers that join rows and name nobody.

Keyed (HMAC-SHA256, RFC 2104), because patient and study identifiers are guessable: a table of the unkeyed hashes of
every possible hospital number is quickly made. DICOM asks the same of replaced identifiers (PS3.15 E.1.1: consistent
within a set, and not to be undone without the key).
"""

from __future__ import annotations

import hmac
from typing import Literal

_LENGTH = 32
"""Hex digits: 128 bits, far beyond an accidental collision."""


def pseudonym(value: str, *, kind: Literal["study", "series", "patient"], key: bytes) -> str | None:
    """32 hex digits that stand for ``value``; ``None`` for an empty one. Kinds do not share pseudonyms.

    Blanks and NULs around the value are DICOM's padding to even length, and do not count.
    """
    stripped = value.strip(" \t\r\n\0")
    if not stripped:
        return None
    return hmac.new(key, f"{kind}\0{stripped}".encode(), "sha256").hexdigest()[:_LENGTH]


def erased_mark(pseudonym: str, *, key: bytes) -> str:
    """What is remembered of a person who was erased: a keyed hash of the pseudonym, which does not lead back to it."""
    return hmac.new(key, f"erased\0{pseudonym}".encode(), "sha256").hexdigest()
