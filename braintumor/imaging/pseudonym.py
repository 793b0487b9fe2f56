"""Create pseudonyms: identifiers that join rows and identify no person.

Pseudonyms are keyed hashes (HMAC-SHA256, RFC 2104), because identifiers such as hospital numbers are guessable. With
one key, equal identifiers have equal pseudonyms. Without the key, pseudonyms cannot be reversed. DICOM requires both
properties (PS3.15 E.1.1).
"""

from __future__ import annotations

import hmac
from typing import Literal

_LENGTH = 32
"""Length of a pseudonym in hex digits. 32 digits are 128 bits, so an accidental collision is very unlikely."""


Kind = Literal["study", "series", "patient", "site", "station"]


def pseudonym(value: str, *, kind: Kind, key: bytes) -> str | None:
    """Return the pseudonym of an identifier as 32 hex digits, or ``None`` for an empty identifier.

    ``key`` is the secret key. The same identifier has a different pseudonym for each ``kind``. Blanks and NULs around
    the identifier are ignored, because DICOM pads values to even length. So are no-break spaces.
    """
    stripped = value.strip(" \t\r\n\0\u00a0")
    if not stripped:
        return None
    return hmac.new(key, f"{kind}\0{stripped}".encode(), "sha256").hexdigest()[:_LENGTH]


def erased_mark(pseudonym: str, *, key: bytes) -> str:
    """Return the keyed hash, 64 hex digits, that marks a pseudonym as erased and does not reveal the pseudonym."""
    return hmac.new(key, f"erased\0{pseudonym}".encode(), "sha256").hexdigest()


def key_mark(key: bytes) -> str:
    """Return 16 hex digits that identify a key and do not reveal it."""
    return hmac.new(key, b"key mark", "sha256").hexdigest()[:16]
