"""Select the scans that a worker processes in isolation, because one of them may have crashed an earlier worker."""

from __future__ import annotations

from braintumor.scoring.lease import Claim, ClaimedScan

_MOST_BEGUN = 200
"""Scans that count as begun by a crashed worker. It had begun 112 at most: three steps of 32, and 16 read ahead."""
_FIRST_RETRY = 2


def suspects_and_others(held: Claim) -> tuple[list[ClaimedScan], list[ClaimedScan]]:
    """Return the suspects of a claim, those with the fewest isolated attempts first, and the other scans.

    After the first crash only the first pending scans are suspects, because the crashed worker had begun no others.
    After a later crash all scans are suspects.
    """
    count_begun = 0
    if held.after_crash:
        count_begun = _MOST_BEGUN if held.attempt == _FIRST_RETRY else len(held.scans)
    is_suspect = [place < count_begun or scan.isolated_attempts > 0 for place, scan in enumerate(held.scans)]
    suspects = [scan for scan, suspect in zip(held.scans, is_suspect, strict=True) if suspect]
    others = [scan for scan, suspect in zip(held.scans, is_suspect, strict=True) if not suspect]
    return sorted(suspects, key=lambda scan: scan.isolated_attempts), others
