"""Test that a lease lasts while its worker runs, and not longer."""

from __future__ import annotations

import time

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import DatabaseError
from braintumor.scoring import lease, worker
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.lease import claim, heartbeat
from tests.conftest import Put
from tests.images import png
from tests.sql import rows

EXPIRES = "select lease_expires_at from scoring_chunk"


def test_lease_is_renewed_during_a_slow_file(settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put("a.png", png())
    monkeypatch.setattr(lease, "LEASE_SECONDS", 3)
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="slow")
    (chunk,) = job.plan(run.scoring_run_id)
    held = claim(job.engine, run, chunk)
    assert held is not None
    ((first,),) = rows(settings, EXPIRES)
    with heartbeat(job.engine, held):
        wait_until(settings, f"({EXPIRES}) > :first", first=first)
        wait_until(settings, "now() > :first", first=first)
        other, _ = job.begin(run_key="other")
        assert job.plan(other.scoring_run_id) == []
        assert job.reconcile(other.scoring_run_id).count_deferred == 1
    wait_until(settings, f"({EXPIRES}) < now()")
    late, _ = job.begin(run_key="late")
    assert job.plan(late.scoring_run_id) == [0]


def wait_until(settings: Settings, condition: str, **values: object) -> None:
    end = time.monotonic() + 60
    while rows(settings, f"select {condition}", **values) != [(True,)]:
        assert time.monotonic() < end, condition
        time.sleep(0.1)


def test_lease_is_released_after_an_early_failure(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png", png())
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    (chunk,) = job.plan(run.scoring_run_id)

    def fail(*_: object) -> None:
        raise DatabaseError("Postgres refused.")

    monkeypatch.setattr(worker.ErasedSubjects, "load", fail)
    with pytest.raises(DatabaseError):
        job.score(run.scoring_run_id, chunk)
    assert rows(settings, "select attempt, lease_expires_at from scoring_chunk") == [(1, None)]
    monkeypatch.undo()
    assert job.score(run.scoring_run_id, chunk) == {"scored": 1}
