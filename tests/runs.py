"""Start scoring runs in processes that can be killed, and check that no scan was lost or scored twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from braintumor.config.settings import Settings
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import run_scoring_job
from tests.sql import change, rows

CHUNK_SIZE = 5
"""Small, so that a run has many claims and commits."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.runs", "tests.soak.promoting", "openvino", "braintumor.imaging.decoding.dicom.reader"]
)
"""Each process is a fork of one with all imports, because the imports take longer than such a run."""


def put_phantoms(settings: Settings, folder: Path, *, count: int, seed: int) -> list[Path]:
    """Put ``count`` scans into a new folder under the scans prefix, and return their files."""
    store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    paths = write_unlabeled(folder / str(seed), count=count, seed=seed)
    for path in paths:
        store.write(scans / f"{seed}/{path.name}", path.read_bytes())
    return paths


def put_scans(settings: Settings, folder: Path, *, count: int, seed: int, with_copy: bool = False) -> None:
    """Put ``count`` scans and one file that is not an image into a new folder under the scans prefix.

    ``with_copy`` adds a duplicate of the first scan.
    """
    first, *_ = put_phantoms(settings, folder, count=count, seed=seed)
    store, scans = ObjectStore.connect(settings), S3Uri.parse(settings.require("scans_uri"))
    if with_copy:
        store.write(scans / f"{seed}/copy-{first.name}", first.read_bytes())
    store.write(scans / f"{seed}/words.jpg", b"words")


def start_run(settings: Settings, run_key: str, *, dies_at: int = 0) -> ForkServerProcess:
    """Start a run in a process, in small chunks.

    At the point ``dies_at`` it kills itself. Points are counted from 1: before each statement and each commit, and when
    a connection returns to the pool.
    """
    return start_process(_work, settings, run_key, dies_at)


def start_process(function: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that calls the function."""
    process = _FORKS.Process(target=function, args=arguments)
    process.start()
    return process


def end(run: ForkServerProcess) -> int:
    """Wait for the end of a run, and return its exit code. It is negative if a signal ended the run."""
    run.join(300)
    assert run.exitcode is not None, "the run hangs"
    return run.exitcode


def _work(settings: Settings, run_key: str, dies_at: int) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - many of these runs fail on purpose
    if dies_at:
        _die_at(dies_at)
    run_scoring_job(settings, run_key=run_key, chunk_size=CHUNK_SIZE)


def _die_at(point: int) -> None:
    numbers = count(1)

    def pass_point(*_: object) -> None:
        if next(numbers) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    for target, name in ((Engine, "before_cursor_execute"), (Engine, "commit"), (Pool, "checkin")):
        event.listen(target, name, pass_point)


def expire_leases(settings: Settings) -> None:
    """Expire all leases, as two minutes without a heartbeat do."""
    change(settings, "update scoring_chunk set lease_expires_at = now() where finished_at is null")


def assert_no_partial_scans(settings: Settings) -> None:
    """Check that every processed scan has all its rows, and that no other scan has any."""
    partial = """
        select count(*) from scan
        where (state = 'scored') <> exists (select from prediction where prediction.scan_id = scan.scan_id)
           or (state = 'rejected') <> exists (select from rejection where rejection.scan_id = scan.scan_id)
           or count_frame <> (select count(*) from prediction where prediction.scan_id = scan.scan_id)"""
    assert rows(settings, partial) == [(0,)]


def assert_each_scan_scored_once(settings: Settings, *, count_scored: int, count_rejected: int) -> None:
    """Check that a last run balances, every scan has one prediction, and one more run changes no row."""
    expire_leases(settings)
    balance = run_scoring_job(settings, run_key="last")
    assert balance.is_balanced and balance.count_deferred == 0
    assert_no_partial_scans(settings)
    content = """
        select
            (select array_agg((scan_id, state::text, processed_at)::text order by scan_id) from scan),
            (select array_agg((scan_id, frame_index, scored_at)::text order by scan_id) from prediction),
            (select array_agg((scan_id, rejected_at)::text order by scan_id) from rejection)"""
    ((scans, predictions, rejections),) = before = rows(settings, content)
    assert (len(scans), len(predictions)) == (count_scored + count_rejected, count_scored)
    assert len(rejections) == count_rejected
    assert run_scoring_job(settings, run_key="once more").count_known == count_scored + count_rejected
    assert rows(settings, content) == before


def remove(settings: Settings, name: str) -> None:
    """Delete one object under the scans prefix."""
    ObjectStore.connect(settings).delete([S3Uri.parse(settings.require("scans_uri")) / name])


def states(settings: Settings) -> list[str]:
    """Return the state of every scan, ordered by ID."""
    return [str(state) for (state,) in rows(settings, "select state::text from scan order by scan_id")]


def add_past_runs(settings: Settings, arrivals: dict[int, int]) -> None:
    """Insert finished runs of the same prefix: days ago -> arrivals."""
    for days, arrived in arrivals.items():
        change(
            settings,
            """
            insert into scoring_run (run_key, scans_uri, model_version_id, engine, count_new, started_at, listed_at)
            select 'past ' || :days, :uri, 1, 'tests', :count, started, started
            from (select now() - make_interval(days => :days) as started) as past""",
            days=days,
            count=arrived,
            uri=settings.require("scans_uri"),
        )
