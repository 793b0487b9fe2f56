"""Test which scans of a claim are processed in isolation."""

from __future__ import annotations

from typing import Any

import pytest

from braintumor.s3 import S3Uri
from braintumor.scoring.lease import Claim, ClaimedScan
from braintumor.scoring.suspects import suspects_and_others


def claim(*, attempt: int, after_crash: bool, count: int = 1_000, **isolated: int) -> Claim:
    scans = tuple(
        ClaimedScan(
            scan_id=number,
            location=S3Uri(bucket="b", key=str(number)),
            etag="e",
            isolated_attempts=isolated.get(f"scan_{number}", 0),
        )
        for number in range(count)
    )
    run: Any = None
    return Claim(run=run, chunk_number=0, attempt=attempt, after_crash=after_crash, scans=scans)


@pytest.mark.parametrize(
    ("attempt", "after_crash", "count_suspect"), [(1, False, 0), (2, False, 0), (2, True, 200), (3, True, 1_000)]
)
def test_first_scans_are_suspects_after_the_first_crash(attempt: int, after_crash: bool, count_suspect: int) -> None:
    suspects, others = suspects_and_others(claim(attempt=attempt, after_crash=after_crash))
    assert [scan.scan_id for scan in suspects] == list(range(count_suspect))
    assert [scan.scan_id for scan in others] == list(range(count_suspect, 1_000))


def test_scans_that_crashed_in_isolation_come_last() -> None:
    held = claim(attempt=5, after_crash=False, count=5, scan_1=2, scan_3=1)
    suspects, others = suspects_and_others(held)
    assert [scan.scan_id for scan in suspects] == [3, 1]
    assert [scan.scan_id for scan in others] == [0, 2, 4]
