"""Pseudonyms: identifiers that join rows and name nobody.

Keyed (HMAC-SHA256), because patient and study identifiers are guessable: an unkeyed hash of every possible number is
quickly made (DICOM PS3.15 E.3.9 asks for the same of replaced UIDs).
"""

from __future__ import annotations

import hmac
from typing import Literal

_LENGTH = 32


def pseudonym(value: str, *, kind: Literal["study", "series", "patient"], key: bytes) -> str | None:
    """32 hex digits that stand for ``value``; ``None`` for an empty one. Kinds do not share pseudonyms."""
    stripped = value.strip()
    if not stripped:
        return None
    return hmac.new(key, f"{kind}\0{stripped}".encode(), "sha256").hexdigest()[:_LENGTH]
