"""Test that each scan is scored once with concurrent runs, Postgres crashes and random S3 errors."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from devstack.stack import Stack
from tests.faulty_s3 import CUT, RESET, SLOW, Fault, faulty_s3
from tests.runs import (
    CHUNK_SIZE,
    assert_each_scan_scored_once,
    assert_no_partial_scans,
    end,
    expire_leases,
    put_scans,
    start_run,
)
from tests.sql import rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

_SCANS = 60
_CRASHES_A_RUN = 8
_CRASHES = 6
_FAULTS: tuple[Fault, ...] = ((500, "InternalError"), (503, "SlowDown"), CUT, RESET, SLOW)


@pytest.mark.parametrize(
    "run_keys",
    [("one scheduler", "another scheduler"), ("cleared in the middle",) * 2],
    ids=["two runs at once", "the same run twice at once"],
)
def test_concurrent_runs_score_each_scan_once(settings: Settings, tmp_path: Path, run_keys: tuple[str, str]) -> None:
    put_scans(settings, tmp_path, count=_SCANS, seed=1)
    processes = [start_run(settings, run_key) for run_key in run_keys]
    assert 0 in [end(process) for process in processes]
    assert_no_partial_scans(settings)
    assert_each_scan_scored_once(settings, count_scored=_SCANS, count_rejected=1)


def test_postgres_crashes_lose_and_duplicate_nothing(settings: Settings, stack: Stack, tmp_path: Path) -> None:
    put_scans(settings, tmp_path, count=_SCANS, seed=2)
    rng, codes = random.Random(2), []
    for number in range(_CRASHES):
        process = start_run(settings, f"crash {number}")
        for _ in range(_CRASHES_A_RUN):  # a crash between two transactions stops no run
            time.sleep(rng.uniform(0.0, 1.0))
            if process.is_alive():
                crash(stack)
        codes.append(end(process))
        assert_no_partial_scans(settings)
        expire_leases(settings)
    assert codes.count(1) >= _CRASHES // 2, f"most runs were not affected: {codes}"
    assert_each_scan_scored_once(settings, count_scored=_SCANS, count_rejected=1)


def crash(stack: Stack) -> None:
    """Crash Postgres, which drops all connections, and start it again, which recovers from its log."""
    server = stack.postgres.service.process()
    assert server is not None
    server.send_signal(signal.SIGQUIT)
    server.wait(30)
    stack.postgres.start()
    stack.postgres.wait()


def test_random_s3_errors_lose_and_duplicate_nothing(settings: Settings, tmp_path: Path) -> None:
    put_scans(settings, tmp_path, count=_SCANS, seed=3)
    with faulty_s3(settings.require("s3_endpoint")) as proxy:
        proxy.faults["words.jpg"] = (503, "SlowDown")  # in the first run. Retries can hide all random faults
        proxy.storm(random.Random(3), share=0.65, faults=_FAULTS, within=settings.require("scans_uri"))
        proxied = replace(settings, s3_endpoint=proxy.url)
        codes = []
        for number in range(3):
            codes.append(end(start_run(proxied, f"storm {number}")))
            assert_no_partial_scans(settings)
            proxy.faults.clear()
        assert proxy.count_fault >= _SCANS // CHUNK_SIZE, "too few requests failed"
    assert codes[0] == 1, "a run must fail if it cannot read a scan"
    ((scored,),) = rows(settings, "select count(*) from scan where state = 'scored'")
    assert scored > _SCANS // 2, f"readable scans were not scored: {scored} of {_SCANS}"
    assert rows(settings, "select 1 from rejection where reason <> 'unsupported_format'") == [], (
        "an S3 error must not reject a scan"
    )
    assert_each_scan_scored_once(settings, count_scored=_SCANS, count_rejected=1)
