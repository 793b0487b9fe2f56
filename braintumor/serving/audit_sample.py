"""Select the audit sample: scans that are reviewed for any prediction, to estimate the rate of confident errors."""

from __future__ import annotations

from hashlib import blake2b

AUDIT_SHARE = 0.02
"""With 140 scans per night the sample has 84 a month. If 1 prediction in 30 were wrong, the sample would have none
of them in 6% of months. The share is constant, so that weeks can be added up and a rescore selects the same scans."""
_HASH_KEY = b"audit_sample"
"""Makes the sample independent of other uses of the sha256."""


def is_audited(content_sha256: str) -> bool:
    """Return whether a scan is in the sample. Every retry, duplicate, model and rescore gets the same result."""
    digest = blake2b(bytes.fromhex(content_sha256), digest_size=8, person=_HASH_KEY).digest()
    return int.from_bytes(digest) < AUDIT_SHARE * 2**64
