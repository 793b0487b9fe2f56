"""The audit sample: scans that a person looks at whatever the answer, so that errors nobody doubted can be counted."""

from __future__ import annotations

from hashlib import blake2b

AUDIT_SHARE = 0.02
"""At 140 scans a night 84 a month: were 1 answer in 30 wrong, the sample would hold no wrong one in 6% of months.
A constant, so that weeks can be added up, and a rescore agrees with its night."""
_PURPOSE = b"audit_sample"
"""Keys the hash, so that nothing else that goes by the sha256 is correlated with the sample."""


def is_audited(content_sha256: str) -> bool:
    """Whether the scan with these bytes is in the sample: the same for every retry, copy, model and rescore."""
    drawn = blake2b(bytes.fromhex(content_sha256), digest_size=8, person=_PURPOSE).digest()
    return int.from_bytes(drawn) < AUDIT_SHARE * 2**64
