"""A worker's hold on its chunk: as long as it works, however slowly, and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import DatabaseError
from braintumor.scoring import lease as claims
from braintumor.scoring import worker
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.lease import claim, heartbeat
from tests.images import png
from tests.sql import rows

Put = Callable[[str, bytes], None]


def test_it_outlasts_a_file_that_takes_longer_than_the_lease(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png", png())
    monkeypatch.setattr(claims, "LEASE_SECONDS", 1)
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="slow")
    (chunk,) = night.plan(run.scoring_run_id)
    held = claim(night.engine, run, chunk)
    assert held is not None
    with heartbeat(night.engine, held):
        time.sleep(2)
        other, _ = night.begin(run_key="other")
        assert night.plan(other.scoring_run_id) == []
        assert night.reconcile(other.scoring_run_id).count_deferred == 1
    time.sleep(1.1)
    late, _ = night.begin(run_key="late")
    assert night.plan(late.scoring_run_id) == [0]


def test_it_is_given_back_when_the_work_fails_before_it_began(
    settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png", png())
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    (chunk,) = night.plan(run.scoring_run_id)

    def fail(*_: object) -> None:
        raise DatabaseError("Postgres refused.")

    monkeypatch.setattr(worker.ErasedSubjects, "load", fail)
    with pytest.raises(DatabaseError):
        night.score(run.scoring_run_id, chunk)
    assert rows(settings, "select attempt, lease_expires_at from scoring_chunk") == [(1, None)]
    monkeypatch.undo()
    assert night.score(run.scoring_run_id, chunk) == {"scored": 1}
