"""Old scans answered again exactly once, whatever dies or S3 does meanwhile, and the night still balances."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import (
    ObjectStoreUnreachableError,
    ScoringRunError,
    UnbalancedRunError,
)
from braintumor.rescoring.job import Rescore
from braintumor.rescoring.request import RescoreRequest, open_rescore_run
from braintumor.rescoring.worker import Outcome, State, settle
from braintumor.scoring.job import ScoringJob, run_scoring_job
from tests.faulty_s3 import FaultyS3
from tests.images import png
from tests.models import add_model, promote
from tests.rescoring.conftest import Put, opened, outcomes, run, standing
from tests.runs import remove
from tests.sql import change, rows

# Exactly once


def test_scans_that_are_gone_overwritten_refused_or_unreadable_are_counted_and_stop_nothing(
    night: Settings, put: Put, door: FaultyS3, first: str
) -> None:
    remove(night, "surname-0.png")
    put("surname-1.png", png(seed=99))
    door.faults = {"surname-2.png": (403, "AccessDenied")}
    change(night, "update scan set count_frame = 2 where scan_id = 4")
    done = run(replace(night, s3_endpoint=door.url))
    assert outcomes(night) == {"gone": 2, "refused": 1, "unreadable": 1, "rescored": 2}
    assert (done["count_gone"], done["count_refused"], done["count_unreadable"]) == (2, 1, 1)
    assert standing(night) == sorted([(first, 2), ("b", 4)]), "where there is no new answer the old one stands"
    left = "select count(*) from current_prediction where 'model_withdrawn' = any(review_reasons)"
    assert rows(night, left) == [(4,)]


def test_what_s3_does_not_deliver_waits_for_the_retry_and_the_others_are_settled(
    night: Settings, door: FaultyS3
) -> None:
    door.faults = {"surname-3.png": (500, "InternalError")}
    job, number = opened(replace(night, s3_endpoint=door.url))
    with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0 of rescore"):
        job.score(number, 0)
    assert outcomes(night) == {"rescored": 5, "unaccounted": 1}
    with pytest.raises(UnbalancedRunError, match=r"5 rescored.*1 UNACCOUNTED"):
        job.reconcile(number)
    assert rows(night, "select state::text from scoring_run where kind = 'rescore'") == [("unbalanced",)]
    assert rows(night, "select sum(count_taken) from rescore") == [(0,)], "S3's failure is not the scan's"
    door.faults = {}
    assert job.score(number, 0) == {"rescored": 1}
    assert job.reconcile(number).is_balanced


class TaskTimeout(BaseException):
    """As Airflow's ``AirflowTaskTimeout``."""


@pytest.mark.parametrize(("error", "count_taken"), [(TaskTimeout, 1), (KeyboardInterrupt, 0)])
def test_a_timeout_keeps_what_was_done_and_counts_as_a_death_and_a_persons_interrupt_does_not(
    night: Settings, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], count_taken: int
) -> None:
    job, number = opened(night)
    answer, steps = worker._outcomes, count(1)

    def answer_two(*asked: Any) -> list[Outcome]:
        if next(steps) > 2:
            raise error
        return answer(*asked)

    monkeypatch.setattr(worker, "SECONDS_A_STEP", 0)
    monkeypatch.setattr(worker, "_outcomes", answer_two)
    with pytest.raises(error):
        job.score(number, 0)
    monkeypatch.undo()
    assert outcomes(night) == {"rescored": 2, "unaccounted": 4}
    assert rows(night, "select count_taken from rescore where state = 'pending'") == [(count_taken,)] * 4
    assert job.score(number, 0) == {"rescored": 4}
    assert job.reconcile(number).is_balanced


def test_an_s3_that_refuses_everything_is_red(night: Settings, door: FaultyS3) -> None:
    door.faults = {"surname": (403, "AccessDenied")}
    with pytest.raises(ScoringRunError, match=r"refused every object.*\(6\).*s3:GetObject"):
        run(replace(night, s3_endpoint=door.url))


def test_a_cleared_task_and_a_worker_that_was_thought_dead_write_nothing_twice(night: Settings, first: str) -> None:
    job, number = opened(night, chunk_size=4)
    assert job.chunks(number) == [0, 1]
    assert job.score(number, 0) == {"rescored": 4}
    before = rows(night, "select p::text from prediction p order by 1")
    assert job.score(number, 0) == {}
    late = [Outcome(scan_id=scan_id, state=State.GONE) for (scan_id,) in rows(night, "select scan_id from rescore")]
    asked = job.open_run(RescoreRequest(actor="bob", reason="other words", limit=1), run_key="rescore", chunk_size=1)
    assert (asked.scoring_run_id, asked.actor, asked.count_asked) == (number, "ann", 6)
    engine = database.connect(night)
    assert settle(engine, asked, late) == {"gone": 2}, "only what is still pending"
    engine.dispose()
    assert rows(night, "select p::text from prediction p order by 1") == before
    assert standing(night) == sorted([(first, 4), ("b", 2)])
    assert job.reconcile(number).count_gone == 2


def test_two_rescores_of_the_same_scans_at_once_write_one_answer(night: Settings) -> None:
    one, first_run = opened(night, "one")
    other, second_run = opened(night, "other")
    with ThreadPoolExecutor(4) as workers:  # each rescore's chunk is worked on twice at the same time, too
        work = [workers.submit(Rescore.open(night).score, number, 0) for number in [first_run, second_run] * 2]
        counts = sum((Counter(done.result()) for done in work), Counter())
    assert counts == {"rescored": 6, "already_scored": 6}
    assert one.reconcile(first_run).is_balanced and other.reconcile(second_run).is_balanced
    assert rows(night, "select count(*), sum(count_taken) from rescore") == [(12, 0)]
    assert run_scoring_job(night, run_key="next").count_known == 6


_WORKER = """
import os, signal, sys
from braintumor.imaging import prepared
from braintumor.imaging.sandbox.decoder_pool import Guard
from braintumor.rescoring import work
from braintumor.rescoring.job import Rescore
from braintumor.config.settings import Settings
prepared._SCANS_A_STEP = 2
kind, number = sys.argv[1:]
if kind == "mid-way":
    write, steps = work.write_predictions, []
    def write_and_die(*values, **more):
        write(*values, **more)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    work.write_predictions = write_and_die
else:
    read = Guard.read
    def die_of_a_mark(self, data, **more):
        if data.endswith(b"poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, data, **more)
    Guard.read = die_of_a_mark
print(Rescore.open(Settings.from_environment()).score(int(number), 0))
"""


def worker(settings: Settings, kind: str, number: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WORKER, kind, str(number)]
    done = subprocess.run(command, env=settings.to_environment(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done


def test_a_worker_killed_inside_its_transaction_loses_and_doubles_nothing(night: Settings, first: str) -> None:
    job, number = opened(night)
    assert worker(night, "mid-way", number).returncode == -signal.SIGKILL
    assert outcomes(night) == {"rescored": 2, "unaccounted": 4}
    assert rows(night, "select count(*) from prediction where scoring_run_id = :run", run=number) == [(2,)]
    assert job.score(number, 0) == {"rescored": 4}
    assert job.reconcile(number).count_rescored == 6
    assert standing(night) == [(first, 6)]


@pytest.mark.soak
def test_a_scan_that_kills_its_workers_is_set_aside_and_the_others_are_scored(
    settings: Settings, put: Put, first: str
) -> None:
    for number in range(4):
        put(f"{number}.png", png(seed=number) + (b"poison" if number == 1 else b""))
    run_scoring_job(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    job, run_id = opened(settings, of=(first,))
    deaths = 0
    while worker(settings, "poison", run_id).returncode != 0:
        deaths += 1
        assert deaths <= 5, "the task's five retries would not have sufficed"
    assert deaths == 3
    assert outcomes(settings) == {"rescored": 3, "failed": 1}
    assert job.reconcile(run_id).count_failed == 1
    assert standing(settings) == sorted([("b", 3), (first, 1)])


# The proof


@pytest.mark.parametrize(
    "loss",
    [
        "delete from prediction where scoring_run_id = 2 and scan_id = 3",
        "delete from rescore where scan_id = 3",
        "update rescore set state = 'pending' where scan_id = 3",
    ],
    ids=["prediction", "row", "state"],
)
def test_a_row_that_goes_missing_turns_the_rescore_red_and_the_next_night_too(night: Settings, loss: str) -> None:
    run(night)
    job = Rescore.open(night)
    assert job.reconcile(2).is_balanced
    change(night, loss)
    with pytest.raises(UnbalancedRunError, match=r"6 asked = 5 rescored.*1 UNACCOUNTED.*rescore_outcome"):
        job.reconcile(2)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        run_scoring_job(night, run_key="next")


def test_a_nights_own_row_that_goes_missing_turns_the_night_red_though_a_rescore_answered_too(night: Settings) -> None:
    run(night)
    assert run_scoring_job(night, run_key="next").count_known == 6
    change(night, "delete from prediction where scoring_run_id = 1 and scan_id = 3")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        ScoringJob.open(night).reconcile(1)


def test_a_rescore_is_no_night(night: Settings) -> None:
    run(night)
    assert rows(night, "select run_key from scoring_run_balance") == [("night",)]
    with pytest.raises(ScoringRunError, match="no night of number 2"):
        ScoringJob.open(night).reconcile(2)
    with pytest.raises(ScoringRunError, match="no rescore of number 1"):
        Rescore.open(night).reconcile(1)
    engine = database.connect(night)
    with pytest.raises(ScoringRunError, match="is that of a night"):
        open_rescore_run(engine, RescoreRequest(actor="ann", reason="r"), run_key="night")
    engine.dispose()
