"""A task that a timeout ends keeps what it did, counts as a crash, and comes to an end within its retries."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.scoring import worker
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.run import ScoringRun
from braintumor.scoring.worker import score_chunk
from tests.images import png
from tests.nights import assert_nothing_is_half_written, states
from tests.sql import change, rows

Put = Callable[[str, bytes], None]

ATTEMPTS = 6
"""Of the task `score`: one, and five retries."""
STEP = 32


class TaskTimeout(BaseException):
    """As Airflow's ``AirflowTaskTimeout``: a signal's handler raises it in the main thread."""


class Watched(DecoderPool):
    """A guard of one task. A file that ends in the name of ``note`` hangs."""

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
        """Whether the main thread waits for readings, and only the file that hangs is being read."""
        with self.lock:
            return self.count_reading == 1 and self.note.exists() and _is_main_thread_in("concurrently")


def _is_main_thread_in(function: str) -> bool:
    ident = threading.main_thread().ident
    assert ident is not None
    frame = sys._current_frames()[ident]
    return any(each.f_code.co_name == function for each, _ in traceback.walk_stack(frame))


@contextmanager
def interrupted(guard: Watched, error: type[BaseException]) -> Iterator[None]:
    """Raise ``error`` in this thread as soon as nothing but the file that hangs is under way."""
    is_over = threading.Event()

    def watch() -> None:
        stuck = 0
        while stuck < 20:
            if is_over.wait(0.05):
                return
            stuck = stuck + 1 if guard.is_stuck() else 0
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
    night: ScoringJob, run: ScoringRun, note: Path, error: type[BaseException] = TaskTimeout
) -> dict[str, int] | None:
    """One try of the task; ``None`` where the error ended it."""
    model = night._loaded(run)[0]
    try:
        with Watched(note) as guard, interrupted(guard, error):
            key = b"key" * 16
            return dict(score_chunk(night.engine, night.store, model, run, 0, pseudonym_key=key, guard=guard))
    except error:
        return None


def planned(
    settings: Settings, put: Put, note: Path, *, count: int, hanging: set[int]
) -> tuple[ScoringJob, ScoringRun]:
    for number in range(count):
        ending = b" " + os.fsencode(note) if number in hanging else b""
        put(f"{number:02}.png", png(seed=number) + ending)
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    assert night.plan(run.scoring_run_id) == [0]
    return night, run


def test_steps_before_a_timeout_stay_and_retries_isolate_the_file_that_hangs(
    settings: Settings, put: Put, tmp_path: Path
) -> None:
    note, slow = tmp_path / "tries", STEP + 3
    night, run = planned(settings, put, note, count=STEP + 8, hanging={slow})
    assert attempt(night, run, note) is None
    assert states(settings) == ["scored"] * STEP + ["pending"] * 8, "the first step is there"
    assert rows(settings, "select lease_expires_at is not null from scoring_chunk") == [(True,)], "as after a crash"
    for isolated_attempts in (1, 2, 3):
        assert attempt(night, run, note) is None
        assert rows(settings, "select isolated_attempts from scan where state = 'pending'") == (
            [(isolated_attempts,)] if isolated_attempts > 1 else [(1,)] + [(0,)] * 4
        ), "those before it are scored one by one, those behind it by the next attempt"
    assert attempt(night, run, note) == {"rejected": 1}, f"the fifth of {ATTEMPTS} attempts"
    assert states(settings) == ["rejected" if number == slow else "scored" for number in range(STEP + 8)]
    assert rows(settings, "select reason, detail from rejection") == [
        ("processing_failed", "3 workers died while they were alone with it")
    ]
    assert_nothing_is_half_written(settings)
    assert night.reconcile(run.scoring_run_id).is_balanced


def test_a_slow_step_is_committed_before_it_is_full(
    settings: Settings, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SECONDS_A_STEP", 0)
    note = tmp_path / "tries"
    night, run = planned(settings, put, note, count=6, hanging={4})
    assert attempt(night, run, note) is None
    assert states(settings) == ["scored"] * 4 + ["pending"] * 2


def test_an_attempt_of_a_stale_claim_writes_nothing_after_its_timeout(
    settings: Settings, put: Put, tmp_path: Path
) -> None:
    note = tmp_path / "tries"
    night, run = planned(settings, put, note, count=STEP + 1, hanging={STEP})
    model = night._loaded(run)[0]

    class ClaimedMeanwhile(TaskTimeout):
        def __init__(self) -> None:
            change(settings, "update scoring_chunk set attempt = attempt + 1")

    with Watched(note) as guard, interrupted(guard, ClaimedMeanwhile), pytest.raises(BaseException) as ended:
        score_chunk(night.engine, night.store, model, run, 0, pseudonym_key=b"key" * 16, guard=guard)
    assert type(ended.value).__name__ == "StaleClaimError"
    assert states(settings) == ["pending"] * (STEP + 1)
    assert rows(settings, "select count(*) from prediction") == [(0,)]


def test_a_person_who_interrupts_is_no_crash(settings: Settings, put: Put, tmp_path: Path) -> None:
    note = tmp_path / "tries"
    night, run = planned(settings, put, note, count=3, hanging={1})
    assert attempt(night, run, note, KeyboardInterrupt) is None
    assert rows(settings, "select lease_expires_at from scoring_chunk") == [(None,)]
    assert rows(settings, "select sum(isolated_attempts) from scan") == [(0,)]
