"""Test that a task with a timeout keeps its committed steps, counts as a crash, and ends within its retries."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.scoring import worker
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.reading import ScanReader
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.worker import ScanSource, score_chunk
from tests.conftest import Put
from tests.images import png
from tests.runs import assert_no_partial_scans, states
from tests.sql import change, rows

ATTEMPTS = 6
"""Attempts of the task `score`: one and five retries."""
STEP = 32


class TaskTimeout(BaseException):
    """Like Airflow's ``AirflowTaskTimeout``, which a signal handler raises in the main thread."""


class Watched(DecoderPool):
    """Run one decoder at a time. A file that ends with the name of ``note`` hangs."""

    def __init__(self, note: Path) -> None:
        super().__init__(processes=2, decode="tests.imaging.bad_decoders:hanging")
        self.note = note
        self.note.unlink(missing_ok=True)
        self.count_reading = 0
        self.lock = threading.Lock()

    def read(self, data: bytes, **more: object) -> object:  # type: ignore[override]
        self._count(1)
        try:
            return super().read(data, **more)  # type: ignore[arg-type]
        finally:
            self._count(-1)

    def _count(self, difference: int) -> None:
        with self.lock:
            self.count_reading += difference

    def is_stuck(self) -> bool:
        """Return whether the main thread waits for readings, and only the hanging file is being read."""
        with self.lock:
            return self.count_reading == 1 and self.note.exists() and _is_main_thread_in("concurrently")


def _is_main_thread_in(function: str) -> bool:
    ident = threading.main_thread().ident
    assert ident is not None
    frame = sys._current_frames()[ident]
    return any(each.f_code.co_name == function for each, _ in traceback.walk_stack(frame))


@contextmanager
def interrupted(pool: Watched, error: type[BaseException]) -> Iterator[None]:
    """Raise ``error`` in this thread as soon as only the hanging file is being read."""
    is_over = threading.Event()

    def watch() -> None:
        stuck = 0
        while stuck < 20:
            if is_over.wait(0.05):
                return
            stuck = stuck + 1 if pool.is_stuck() else 0
        os.kill(os.getpid(), signal.SIGUSR1)

    def interrupt(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


def attempt(
    job: ScoringJob, run: ScoringRun, note: Path, error: type[BaseException] = TaskTimeout
) -> dict[str, int] | None:
    """Run one attempt of the task, and return its counts, or ``None`` if the error ended it."""
    model = job._loaded(run)[0]
    try:
        with Watched(note) as pool, interrupted(pool, error):
            source = ScanSource(store=job.store, pseudonym_key=b"key" * 16, pool=pool)
            return dict(score_chunk(job.engine, run, 0, source=source, model=model))
    except error:
        return None


def planned(
    settings: Settings, put: Put, note: Path, *, count: int, hanging: set[int]
) -> tuple[ScoringJob, ScoringRun]:
    for number in range(count):
        ending = b" " + os.fsencode(note) if number in hanging else b""
        put(f"{number:02}.png", png(seed=number) + ending)
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    assert job.plan(run.scoring_run_id) == [0]
    return job, run


def test_timeout_keeps_steps_and_retries_isolate_hanging_file(settings: Settings, put: Put, tmp_path: Path) -> None:
    note, slow = tmp_path / "tries", STEP + 3
    job, run = planned(settings, put, note, count=STEP + 8, hanging={slow})
    assert attempt(job, run, note) is None
    assert states(settings) == ["scored"] * STEP + ["pending"] * 8, "the first step is committed"
    assert rows(settings, "select lease_expires_at is not null from scoring_chunk") == [(True,)], "as after a crash"
    for isolated_attempts in (1, 2, 3):
        assert attempt(job, run, note) is None
        assert rows(
            settings, "select isolated_attempts from scan where state = 'pending' order by isolated_attempts desc"
        ) == ([(isolated_attempts,)] if isolated_attempts > 1 else [(1,)] + [(0,)] * 4), (
            "scans before it are scored in isolation, scans after it by the next attempt"
        )
    assert attempt(job, run, note) == {"rejected": 1}, f"the fifth of {ATTEMPTS} attempts"
    assert states(settings) == ["rejected" if number == slow else "scored" for number in range(STEP + 8)]
    assert rows(settings, "select reason, detail from rejection") == [
        ("processing_failed", "3 workers crashed while they processed only this scan")
    ]
    assert_no_partial_scans(settings)
    assert job.reconcile(run.scoring_run_id).is_balanced


def test_slow_step_commits_before_it_is_full(
    settings: Settings, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ScanReader", partial(ScanReader, seconds=0))
    note = tmp_path / "tries"
    job, run = planned(settings, put, note, count=6, hanging={4})
    assert attempt(job, run, note) is None
    assert states(settings) == ["scored"] * 4 + ["pending"] * 2


def test_stale_attempt_writes_nothing_after_its_timeout(settings: Settings, put: Put, tmp_path: Path) -> None:
    note = tmp_path / "tries"
    job, run = planned(settings, put, note, count=STEP + 1, hanging={STEP})
    model = job._loaded(run)[0]

    class ClaimedMeanwhile(TaskTimeout):
        def __init__(self) -> None:
            change(settings, "update scoring_chunk set attempt = attempt + 1")

    with Watched(note) as pool, interrupted(pool, ClaimedMeanwhile), pytest.raises(BaseException) as ended:
        source = ScanSource(store=job.store, pseudonym_key=b"key" * 16, pool=pool)
        score_chunk(job.engine, run, 0, source=source, model=model)
    assert type(ended.value).__name__ == "StaleClaimError"
    assert states(settings) == ["pending"] * (STEP + 1)
    assert rows(settings, "select count(*) from prediction") == [(0,)]


def test_keyboard_interrupt_does_not_count_as_crash(settings: Settings, put: Put, tmp_path: Path) -> None:
    note = tmp_path / "tries"
    job, run = planned(settings, put, note, count=3, hanging={1})
    assert attempt(job, run, note, KeyboardInterrupt) is None
    assert rows(settings, "select lease_expires_at from scoring_chunk") == [(None,)]
    assert rows(settings, "select sum(isolated_attempts) from scan") == [(0,)]
