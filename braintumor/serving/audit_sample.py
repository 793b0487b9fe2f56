"""Select the audit sample, a random share of scans that reviewers see.

The sample serves to estimate how often confident predictions are wrong.
"""

from __future__ import annotations

from hashlib import blake2b

AUDIT_SHARE = 0.02
"""Share of scans in the audit sample. With 140 scans per night, the sample has 84 scans per month. If 1 prediction in
30 were wrong, a month's sample would show no error in 6% of months. The share is constant, so that the counts of
several weeks can be added. With a constant share, a rescoring run selects the same scans."""
_HASH_KEY = b"audit_sample"
"""Input of the hash that makes the sample independent of other uses of the sha256."""


def is_audited(content_sha256: str) -> bool:
    """Return whether a file with this hex sha256 is in the audit sample.

    The result is the same for all retries, all duplicates of the file, and all models.
    """
    digest = blake2b(bytes.fromhex(content_sha256), digest_size=8, person=_HASH_KEY).digest()
    return int.from_bytes(digest) < AUDIT_SHARE * 2**64
