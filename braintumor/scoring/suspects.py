"""Select the scans that a worker processes in isolation, because one of them may have crashed an earlier worker."""

from __future__ import annotations

from braintumor.scoring.lease import Claim, ClaimedScan

_MOST_BEGUN = 200
"""Number of scans that count as begun by a crashed worker.

A worker has begun at most 80 scans: two steps of 32 scans, and 16 scans that it reads ahead.
"""
_FIRST_RETRY = 2


def suspects_and_others(held: Claim) -> tuple[list[ClaimedScan], list[ClaimedScan]]:
    """Return two lists: the suspects among the scans of a claim, and the other scans.

    A suspect is a scan that may have crashed a worker. Suspects with the fewest isolated attempts come first. After the
    first crash, the first pending scans are suspects, because the worker had begun no others. After a later crash, all
    scans are suspects. A scan with an isolated attempt is always a suspect.
    """
    count_begun = 0
    if held.after_crash:
        count_begun = _MOST_BEGUN if held.attempt == _FIRST_RETRY else len(held.scans)
    is_suspect = [place < count_begun or scan.isolated_attempts > 0 for place, scan in enumerate(held.scans)]
    suspects = [scan for scan, suspect in zip(held.scans, is_suspect, strict=True) if suspect]
    others = [scan for scan, suspect in zip(held.scans, is_suspect, strict=True) if not suspect]
    return sorted(suspects, key=lambda scan: scan.isolated_attempts), others
