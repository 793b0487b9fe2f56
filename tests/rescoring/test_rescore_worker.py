"""Test that a rescore commits each scan exactly once despite crashes and S3 failures, and that runs still balance."""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ObjectStoreUnreachableError, ScoringRunError, UnbalancedRunError
from braintumor.rescoring import worker
from braintumor.rescoring.job import Rescore
from braintumor.rescoring.request import RescoreRequest, open_rescore_run
from braintumor.rescoring.worker import Outcome, State, commit_outcomes
from braintumor.scoring import pipeline
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.reading import ScanReader
from braintumor.serving.prediction import submit_scans
from tests.crashing_workers import run_worker
from tests.faulty_s3 import FaultyS3
from tests.images import png
from tests.models import add_model, promote
from tests.rescoring.conftest import Put, current_predictions, opened, outcomes, run
from tests.runs import remove
from tests.sql import change, rows

# Commits


def test_unavailable_scans_are_counted_and_stop_no_other(
    scored: Settings, put: Put, s3_proxy: FaultyS3, first: str
) -> None:
    remove(scored, "surname-0.png")
    put("surname-1.png", png(seed=99))
    s3_proxy.faults = {"surname-2.png": (403, "AccessDenied")}
    change(scored, "update scan set count_frame = 2 where scan_id = 4")
    done = run(replace(scored, s3_endpoint=s3_proxy.url))
    assert outcomes(scored) == {"gone": 2, "refused": 1, "unreadable": 1, "rescored": 2}
    assert (done["count_gone"], done["count_refused"], done["count_unreadable"]) == (2, 1, 1)
    assert current_predictions(scored) == sorted([(first, 2), ("b", 4)]), (
        "without a new prediction the earlier one is current"
    )
    left = "select count(*) from current_prediction where 'model_withdrawn' = any(review_reasons)"
    assert rows(scored, left) == [(4,)]


def test_undelivered_scan_stays_pending_others_commit(scored: Settings, s3_proxy: FaultyS3) -> None:
    s3_proxy.faults = {"surname-3.png": (500, "InternalError")}
    job, number = opened(replace(scored, s3_endpoint=s3_proxy.url))
    with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0 of rescore"):
        job.score(number, 0)
    assert outcomes(scored) == {"rescored": 5, "unaccounted": 1}
    with pytest.raises(UnbalancedRunError, match=r"5 rescored.*1 UNACCOUNTED"):
        job.reconcile(number)
    assert rows(scored, "select state::text from scoring_run where kind = 'rescore'") == [("unbalanced",)]
    assert rows(scored, "select sum(count_taken) from rescore") == [(0,)], "a failure of S3 is no attempt"
    s3_proxy.faults = {}
    assert job.score(number, 0) == {"rescored": 1}
    assert job.reconcile(number).is_balanced


class TaskTimeout(BaseException):
    """Like Airflow's ``AirflowTaskTimeout``."""


@pytest.mark.parametrize(("error", "count_taken"), [(TaskTimeout, 1), (KeyboardInterrupt, 0)])
def test_timeout_keeps_steps_and_counts_interrupt_does_not(
    scored: Settings, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], count_taken: int
) -> None:
    job, number = opened(scored)
    steps = count(1)

    def submit_two(*values: Any, **more: Any) -> Any:
        if next(steps) > 2:
            raise error
        return submit_scans(*values, **more)

    monkeypatch.setattr(worker, "ScanReader", partial(ScanReader, seconds=0))
    monkeypatch.setattr(pipeline, "submit_scans", submit_two)
    with pytest.raises(error):
        job.score(number, 0)
    monkeypatch.undo()
    assert outcomes(scored) == {"rescored": 2, "unaccounted": 4}
    assert rows(scored, "select count_taken from rescore where state = 'pending'") == [(count_taken,)] * 4
    assert job.score(number, 0) == {"rescored": 4}
    assert job.reconcile(number).is_balanced


def test_all_objects_refused_makes_the_rescore_red(scored: Settings, s3_proxy: FaultyS3) -> None:
    s3_proxy.faults = {"surname": (403, "AccessDenied")}
    with pytest.raises(ScoringRunError, match=r"refused every object.*\(6\).*s3:GetObject"):
        run(replace(scored, s3_endpoint=s3_proxy.url))


def test_cleared_task_and_late_worker_write_nothing_twice(scored: Settings, first: str) -> None:
    job, number = opened(scored, chunk_size=4)
    assert job.chunks(number) == [0, 1]
    assert job.score(number, 0) == {"rescored": 4}
    before = rows(scored, "select p::text from prediction p order by 1")
    assert job.score(number, 0) == {}
    late = [Outcome(scan_id=scan_id, state=State.GONE) for (scan_id,) in rows(scored, "select scan_id from rescore")]
    reopened = job.open_run(RescoreRequest(actor="bob", reason="other words", limit=1), run_key="rescore", chunk_size=1)
    assert (reopened.scoring_run_id, reopened.actor, reopened.count_asked) == (number, "ann", 6)
    engine = database.connect(scored)
    assert commit_outcomes(engine, reopened, late) == {"gone": 2}, "only pending scans"
    engine.dispose()
    assert rows(scored, "select p::text from prediction p order by 1") == before
    assert current_predictions(scored) == sorted([(first, 4), ("b", 2)])
    assert job.reconcile(number).count_gone == 2


def test_concurrent_rescores_write_one_prediction(scored: Settings) -> None:
    one, first_run = opened(scored, "one")
    other, second_run = opened(scored, "other")
    with ThreadPoolExecutor(4) as workers:  # each rescore's chunk is worked on twice at the same time, too
        work = [workers.submit(Rescore.open(scored).score, number, 0) for number in [first_run, second_run] * 2]
        counts = sum((Counter(done.result()) for done in work), Counter())
    assert counts == {"rescored": 6, "already_scored": 6}
    assert one.reconcile(first_run).is_balanced and other.reconcile(second_run).is_balanced
    assert rows(scored, "select count(*), sum(count_taken) from rescore") == [(12, 0)]
    assert run_scoring_job(scored, run_key="next").count_known == 6


def test_crash_in_a_transaction_loses_and_doubles_nothing(scored: Settings, first: str) -> None:
    job, number = opened(scored)
    assert run_worker(scored, "rescoring", "second-write", number) == -signal.SIGKILL
    assert outcomes(scored) == {"rescored": 2, "unaccounted": 4}
    assert rows(scored, "select count(*) from prediction where scoring_run_id = :run", run=number) == [(2,)]
    assert job.score(number, 0) == {"rescored": 4}
    assert job.reconcile(number).count_rescored == 6
    assert current_predictions(scored) == [(first, 6)]


@pytest.mark.soak
def test_scan_that_crashes_workers_fails_others_score(settings: Settings, put: Put, first: str) -> None:
    for number in range(4):
        put(f"{number}.png", png(seed=number) + (b"poison" if number == 1 else b""))
    run_scoring_job(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    job, run_id = opened(settings, of=(first,))
    deaths = 0
    while run_worker(settings, "rescoring", "poison", run_id) != 0:
        deaths += 1
        assert deaths <= 5, "the task's five retries would not have sufficed"
    assert deaths == 3
    assert outcomes(settings) == {"rescored": 3, "failed": 1}
    assert job.reconcile(run_id).count_failed == 1
    assert current_predictions(settings) == sorted([("b", 3), (first, 1)])


# Balance


@pytest.mark.parametrize(
    "loss",
    [
        "delete from prediction where scoring_run_id = 2 and scan_id = 3",
        "delete from rescore where scan_id = 3",
        "update rescore set state = 'pending' where scan_id = 3",
    ],
    ids=["prediction", "row", "state"],
)
def test_missing_row_makes_rescore_and_next_run_red(scored: Settings, loss: str) -> None:
    run(scored)
    job = Rescore.open(scored)
    assert job.reconcile(2).is_balanced
    change(scored, loss)
    with pytest.raises(UnbalancedRunError, match=r"6 asked = 5 rescored.*1 UNACCOUNTED.*rescore_outcome"):
        job.reconcile(2)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        run_scoring_job(scored, run_key="next")


def test_missing_row_of_a_rescored_run_makes_it_red(scored: Settings) -> None:
    run(scored)
    assert run_scoring_job(scored, run_key="next").count_known == 6
    change(scored, "delete from prediction where scoring_run_id = 1 and scan_id = 3")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        ScoringJob.open(scored).reconcile(1)


def test_rescore_is_not_a_scoring_run(scored: Settings) -> None:
    run(scored)
    assert rows(scored, "select run_key from scoring_run_balance") == [("night",)]
    with pytest.raises(ScoringRunError, match="no scoring run 2"):
        ScoringJob.open(scored).reconcile(2)
    with pytest.raises(ScoringRunError, match="no rescore 1"):
        Rescore.open(scored).reconcile(1)
    engine = database.connect(scored)
    with pytest.raises(ScoringRunError, match="is that of a scoring run"):
        open_rescore_run(engine, RescoreRequest(actor="ann", reason="r"), run_key="night")
    engine.dispose()
