"""Test that later runs and `scan requeue` do not change the counts of an earlier run."""

from __future__ import annotations

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import UnbalancedRunError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.lease import claim
from braintumor.scoring.scan_status import requeue
from tests.conftest import Put
from tests.images import png
from tests.runs import states
from tests.sql import change, rows

COUNTS = """
    select count_seen, count_scored, count_known, count_rejected, count_ignored, count_deferred, count_superseded,
           count_unaccounted
    from {table} where run_key = '{key}'"""
OUTCOMES = (
    "select scan_id, outcome from scoring_run_object_outcome "
    "join scoring_run using (scoring_run_id) where run_key = '{key}'"
)


def counted(settings: Settings, key: str) -> list[tuple[object, ...]]:
    """Count a run from its rows, and compare the counts with the stored ones."""
    found = rows(settings, COUNTS.format(table="scoring_run_balance", key=key))
    assert found == rows(settings, COUNTS.format(table="scoring_run", key=key))
    return [*found, *sorted(rows(settings, OUTCOMES.format(key=key)))]


def send_back(settings: Settings, reason: RejectionReason) -> int:
    return requeue(database.connect(settings), reason, actor="tests")


def number_of(settings: Settings, key: str) -> int:
    ((number,),) = rows(settings, f"select scoring_run_id from scoring_run where run_key = '{key}'")
    return int(str(number))


def test_requeue_changes_no_count_of_an_earlier_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("words.jpg", b"words")
    put("empty.png", b"")
    put(".DS_Store", b"litter")
    run_scoring_job(settings, run_key="first")
    before = counted(settings, "first")
    assert before[0] == (4, 1, 0, 2, 1, 0, 0, 0)
    assert send_back(settings, RejectionReason.UNSUPPORTED_FORMAT) == 1
    assert counted(settings, "first") == before
    run_scoring_job(settings, run_key="second")
    assert counted(settings, "first") == before
    second = counted(settings, "second")
    assert second[0] == (4, 0, 3, 1, 0, 0, 0, 0)
    for reason in (RejectionReason.UNSUPPORTED_FORMAT, RejectionReason.EMPTY_FILE):
        assert send_back(settings, reason) == 1
    assert (counted(settings, "first"), counted(settings, "second")) == (before, second)


def test_second_reconciliation_keeps_the_counts(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("words.jpg", b"words")
    run_scoring_job(settings, run_key="first")
    before = counted(settings, "first")
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    job = ScoringJob.open(settings)
    assert job.reconcile(number_of(settings, "first")).count_rejected == 1
    run_scoring_job(settings, run_key="second")
    assert job.reconcile(number_of(settings, "first")).is_balanced
    assert counted(settings, "first") == before


def test_deferred_scan_stays_deferred_in_its_run(settings: Settings, put: Put) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    first, _ = job.begin(run_key="first")
    (chunk,) = job.plan(first.scoring_run_id)
    assert claim(job.engine, first, chunk) is not None
    run_scoring_job(settings, run_key="second")
    before = counted(settings, "second")
    assert before[0] == (1, 0, 0, 0, 0, 1, 0, 0)
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    assert run_scoring_job(settings, run_key="third").count_scored == 1
    assert counted(settings, "second") == before


def test_returned_object_stays_superseded_in_its_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    job = ScoringJob.open(settings)
    first, _ = job.begin(run_key="first")
    (chunk,) = job.plan(first.scoring_run_id)
    put("a.png", png(seed=2))
    job.score(first.scoring_run_id, chunk)
    job.reconcile(first.scoring_run_id)
    before = counted(settings, "first")
    assert before[0] == (1, 0, 0, 0, 0, 0, 1, 0)
    put("a.png", png(seed=1))
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert counted(settings, "first") == before


def test_requeued_known_scan_stays_known_in_a_red_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("words.jpg", b"words")
    run_scoring_job(settings, run_key="first")
    change(settings, "delete from prediction")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        run_scoring_job(settings, run_key="red")
    before = counted(settings, "red")
    assert before[0] == (2, 0, 1, 0, 0, 0, 0, 1)
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    assert counted(settings, "red") == before


def test_requeue_during_a_run_keeps_committed_scans(settings: Settings, put: Put) -> None:
    put("words.jpg", b"words")
    put("a.png", png(seed=1))
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    assert job.reconcile(run.scoring_run_id).count_rejected == 1
    assert sorted(states(settings)) == ["pending", "scored"]


def test_deleted_rejection_makes_its_run_red(settings: Settings, put: Put) -> None:
    put("words.jpg", b"words")
    run_scoring_job(settings, run_key="first")
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    change(settings, "delete from scan_requeue")
    change(settings, "delete from rejection")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        ScoringJob.open(settings).reconcile(number_of(settings, "first"))
