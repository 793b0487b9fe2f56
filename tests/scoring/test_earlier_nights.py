"""The counts of an earlier night stay, whatever later nights and `scan requeue` do with its scans."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import UnbalancedRunError
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.lease import claim
from braintumor.scoring.scan_status import requeue
from tests.images import png
from tests.runs import states
from tests.sql import change, rows

Put = Callable[[str, bytes], None]
COUNTS = """
    select count_seen, count_scored, count_known, count_rejected, count_ignored, count_deferred, count_superseded,
           count_unaccounted
    from {table} where run_key = '{key}'"""
OUTCOMES = (
    "select scan_id, outcome from scoring_run_object_outcome "
    "join scoring_run using (scoring_run_id) where run_key = '{key}'"
)


def counted(settings: Settings, key: str) -> list[tuple[object, ...]]:
    """Count a night from the rows, and compare with what its last reconciliation stored."""
    found = rows(settings, COUNTS.format(table="scoring_run_balance", key=key))
    assert found == rows(settings, COUNTS.format(table="scoring_run", key=key))
    return [*found, *sorted(rows(settings, OUTCOMES.format(key=key)))]


def send_back(settings: Settings, reason: RejectionReason) -> int:
    return requeue(database.connect(settings), reason, actor="tests")


def number_of(settings: Settings, key: str) -> int:
    ((number,),) = rows(settings, f"select scoring_run_id from scoring_run where run_key = '{key}'")
    return int(str(number))


def test_a_requeue_and_the_night_after_it_change_no_count_of_the_night_before(settings: Settings, put: Put) -> None:
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


def test_an_earlier_night_that_is_reconciled_again_keeps_its_counts(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    put("words.jpg", b"words")
    run_scoring_job(settings, run_key="first")
    before = counted(settings, "first")
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    night = ScoringJob.open(settings)
    assert night.reconcile(number_of(settings, "first")).count_rejected == 1
    run_scoring_job(settings, run_key="second")
    assert night.reconcile(number_of(settings, "first")).is_balanced
    assert counted(settings, "first") == before


def test_what_a_night_left_to_the_next_one_stays_deferred(settings: Settings, put: Put) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    first, _ = night.begin(run_key="first")
    (chunk,) = night.plan(first.scoring_run_id)
    assert claim(night.engine, first, chunk) is not None
    run_scoring_job(settings, run_key="second")
    before = counted(settings, "second")
    assert before[0] == (1, 0, 0, 0, 0, 1, 0, 0)
    change(settings, "update scoring_chunk set lease_expires_at = now() - interval '1 second'")
    assert run_scoring_job(settings, run_key="third").count_scored == 1
    assert counted(settings, "second") == before


def test_what_was_superseded_and_came_back_stays_superseded(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    night = ScoringJob.open(settings)
    first, _ = night.begin(run_key="first")
    (chunk,) = night.plan(first.scoring_run_id)
    put("a.png", png(seed=2))
    night.score(first.scoring_run_id, chunk)
    night.reconcile(first.scoring_run_id)
    before = counted(settings, "first")
    assert before[0] == (1, 0, 0, 0, 0, 0, 1, 0)
    put("a.png", png(seed=1))
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert counted(settings, "first") == before


def test_a_known_scan_that_is_sent_back_stays_known_in_a_red_night(settings: Settings, put: Put) -> None:
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


def test_a_requeue_in_the_middle_of_a_night_leaves_what_the_night_settled(settings: Settings, put: Put) -> None:
    put("words.jpg", b"words")
    put("a.png", png(seed=1))
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    for chunk in night.plan(run.scoring_run_id):
        night.score(run.scoring_run_id, chunk)
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    assert night.reconcile(run.scoring_run_id).count_rejected == 1
    assert sorted(states(settings)) == ["pending", "scored"]


def test_a_rejection_that_is_deleted_still_turns_its_night_red(settings: Settings, put: Put) -> None:
    put("words.jpg", b"words")
    run_scoring_job(settings, run_key="first")
    send_back(settings, RejectionReason.UNSUPPORTED_FORMAT)
    change(settings, "delete from scan_requeue")
    change(settings, "delete from rejection")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        ScoringJob.open(settings).reconcile(number_of(settings, "first"))
