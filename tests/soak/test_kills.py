"""Kill scoring runs repeatedly, and check that no row is lost, duplicated or incomplete."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from tests.runs import assert_each_scan_scored_once, assert_no_partial_scans, end, expire_leases, put_scans, start_run
from tests.sql import rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

_KILLS = int(os.environ.get("KILLS", "20"))
_SCANS = 120
_MIN_POINTS = 40
"""A run with two scored scans and one rejected scan sends some twenty statements, and commits seven times."""


def test_sigkill_at_random_times_loses_and_duplicates_nothing(settings: Settings, tmp_path: Path) -> None:
    put_scans(settings, tmp_path, count=_SCANS, seed=7)
    rng = random.Random(7)
    for number in range(_KILLS):
        run = start_run(settings, f"kill {number}")
        if number % 4 == 1:  # during a chunk on any machine, while other kills are at any time
            _wait_for(settings, run, "select 1 from scoring_chunk where lease_expires_at > now()")
        if number % 4 == 3:
            _wait_for(
                settings,
                run,
                f"select 1 from scoring_chunk having count(finished_at) > {_count_finished(settings)}",
            )
        time.sleep(rng.uniform(0.0, 0.5 if number % 2 else 2.5))
        run.kill()
        end(run)
        assert_no_partial_scans(settings)
        expire_leases(settings)
    assert _count_finished(settings) > 0, "no chunk was committed before a kill: kill later"
    assert_each_scan_scored_once(settings, count_scored=_SCANS, count_rejected=1)


def _count_finished(settings: Settings) -> int:
    ((count_finished,),) = rows(settings, "select count(finished_at) from scoring_chunk")
    return int(count_finished)


def _wait_for(settings: Settings, run: ForkServerProcess, query: str) -> None:
    """Wait until the query returns a row, or the run ends."""
    while run.is_alive() and not rows(settings, query):
        time.sleep(0.02)


def test_sigkill_at_every_statement_loses_and_duplicates_nothing(settings: Settings, tmp_path: Path) -> None:
    """Each run gets new scans and the unfinished scans of the last run, and dies one point later."""
    for point in count(1):
        put_scans(settings, tmp_path / str(point), count=2, seed=point, with_copy=True)
        code = end(start_run(settings, f"dies at {point}", dies_at=point))
        assert_no_partial_scans(settings)
        expire_leases(settings)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"ended before point {point}"
    assert point > _MIN_POINTS, f"a run has only {point - 1} points: are they still counted?"
    assert_each_scan_scored_once(settings, count_scored=3 * point, count_rejected=point)
    copies = """
        select count(*) from prediction as copy
        join prediction as original on original.scan_id = copy.copied_from_scan_id
        where copy.activation_map = original.activation_map and copy.confidence = original.confidence"""
    assert rows(settings, copies) == [(point,)]
