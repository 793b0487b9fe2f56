"""Test faults of S3, Postgres and workers: no scan is lost, stops others, or is hidden by a green run."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import (
    BrainTumorError,
    ObjectStoreError,
    ObjectStoreUnreachableError,
    ScoringRunError,
    UnbalancedRunError,
)
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.lease import claim
from braintumor.scoring.worker import ScanSource, score_chunk
from tests.conftest import Put
from tests.crashing_workers import run_worker
from tests.faulty_s3 import CUT, FaultyS3
from tests.images import png
from tests.runs import remove, states
from tests.sql import change, rows


class TestUnplannedRun:
    def test_with_pending_scans_is_red(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="night")
        with pytest.raises(ScoringRunError, match=r"never planned.*`plan`"):
            job.reconcile(run.scoring_run_id)
        assert rows(settings, "select state::text, count_unaccounted from scoring_run") == [("unbalanced", 1)]

    def test_without_new_scans_is_red(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        run_scoring_job(settings, run_key="first")
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="second")
        with pytest.raises(ScoringRunError, match="never planned"):
            job.reconcile(run.scoring_run_id)
        job.plan(run.scoring_run_id)
        assert job.reconcile(run.scoring_run_id).count_known == 1


class TestRefusedObject:
    def test_is_retried_by_each_run_and_stops_no_other(
        self, settings: Settings, proxied: Settings, s3_proxy: FaultyS3, put: Put
    ) -> None:
        for number in range(3):
            put(f"{number}.png", png(seed=number))
        s3_proxy.faults["1.png"] = (403, "AccessDenied")
        balance = run_scoring_job(proxied, run_key="first")
        assert (balance.count_scored, balance.count_rejected) == (2, 1)
        put("new.png", png(seed=9))
        balance = run_scoring_job(proxied, run_key="second")
        assert (balance.count_known, balance.count_scored, balance.count_rejected) == (2, 1, 1)
        s3_proxy.faults.clear()
        balance = run_scoring_job(proxied, run_key="third")
        assert (balance.count_known, balance.count_scored) == (3, 1)
        assert rows(settings, "select reason, count(*) from rejection group by 1") == [("access_denied", 2)]
        assert states(settings) == ["scored"] * 4

    def test_is_no_crash_even_if_it_was_processed_alone(
        self, settings: Settings, proxied: Settings, s3_proxy: FaultyS3, put: Put
    ) -> None:
        for number in range(2):
            put(f"{number}.png", png(seed=number))
        s3_proxy.faults["1.png"] = (403, "AccessDenied")
        run_scoring_job(proxied, run_key="first")
        rows(settings, "update scan set isolated_attempts = 3 where state = 'rejected'")  # as after crashes of others
        s3_proxy.faults.clear()
        run_scoring_job(proxied, run_key="second")
        assert states(settings) == ["scored"] * 2

    def test_at_every_object_makes_the_run_red(self, proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
        put("a.png", png())
        s3_proxy.faults["a.png"] = (403, "AccessDenied")
        with pytest.raises(ScoringRunError, match=r"refused every object.*\(1\).*s3:GetObject"):
            run_scoring_job(proxied, run_key="night")

    def test_for_expired_credentials_rejects_no_scan(self, proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
        put("a.png", png())
        s3_proxy.faults["a.png"] = (403, "ExpiredToken")
        with pytest.raises(ObjectStoreError, match="credentials"):
            run_scoring_job(proxied, run_key="night")
        assert states(proxied) == ["pending"]


@pytest.mark.parametrize("fault", [(500, "InternalError"), CUT], ids=["error", "cut"])
def test_undelivered_object_leaves_the_others_scored(
    proxied: Settings, s3_proxy: FaultyS3, put: Put, fault: tuple[int, str]
) -> None:
    for number in range(3):
        put(f"{number}.png", png(seed=number))
    s3_proxy.faults["1.png"] = fault
    job = ScoringJob.open(proxied)
    run, _ = job.begin(run_key="night")
    (chunk,) = job.plan(run.scoring_run_id)
    with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0 could not be read"):
        job.score(run.scoring_run_id, chunk)
    assert states(proxied) == ["scored", "pending", "scored"]
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        job.reconcile(run.scoring_run_id)
    s3_proxy.faults.clear()
    assert job.score(run.scoring_run_id, chunk) == {"scored": 1}
    assert job.reconcile(run.scoring_run_id).count_scored == 3


def test_normal_failure_releases_the_scans_at_once(
    settings: Settings, proxied: Settings, s3_proxy: FaultyS3, put: Put
) -> None:
    put("a.png", png())
    s3_proxy.faults["a.png"] = (500, "InternalError")
    with pytest.raises(ObjectStoreUnreachableError):
        run_scoring_job(proxied, run_key="first")
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert rows(settings, "select isolated_attempts from scan") == [(0,)]


class TestChangedObjects:
    def test_returned_bytes_at_the_same_key_are_scored(self, settings: Settings, put: Put) -> None:
        put("a.png", png(seed=1))
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="first")
        (chunk,) = job.plan(run.scoring_run_id)
        put("a.png", png(seed=2))
        assert job.score(run.scoring_run_id, chunk) == {"superseded": 1}
        put("a.png", png(seed=1))
        assert run_scoring_job(settings, run_key="second").count_scored == 1
        assert states(settings) == ["scored"]
        assert job.reconcile(run.scoring_run_id).is_balanced

    def test_pending_scan_of_vanished_object_is_superseded(self, settings: Settings, put: Put) -> None:
        put("a.png", png(seed=1))
        put("b.png", png(seed=2))
        job = ScoringJob.open(settings)
        dead, _ = job.begin(run_key="dead")
        remove(settings, "a.png")
        balance = run_scoring_job(settings, run_key="next")
        assert (balance.count_seen, balance.count_scored) == (1, 1)
        assert states(settings) == ["superseded", "scored"]
        job.plan(dead.scoring_run_id)
        assert job.reconcile(dead.scoring_run_id).count_known == 2

    def test_vanished_scan_with_a_lease_stays_pending(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="first")
        (chunk,) = job.plan(run.scoring_run_id)
        assert claim(job.engine, run, chunk) is not None
        remove(settings, "a.png")
        run_scoring_job(settings, run_key="second")
        assert states(settings) == ["pending"]
        change(settings, "update scoring_chunk set lease_expires_at = now()")
        run_scoring_job(settings, run_key="third")
        assert states(settings) == ["superseded"]

    def test_other_prefixes_are_not_touched(self, settings: Settings, put: Put) -> None:
        put("one/a.png", png())
        job = ScoringJob.open(settings)
        job.begin(run_key="first", scans_uri=settings.require("scans_uri") + "one/")
        remove(settings, "one/a.png")
        put("one_more/b.png", png())
        run_scoring_job(settings, run_key="second", scans_uri=settings.require("scans_uri") + "one_more/")
        assert states(settings) == ["pending", "scored"]


@pytest.mark.soak
def test_scan_that_crashes_every_worker_is_rejected(settings: Settings, put: Put) -> None:
    for number in range(5):
        put(f"{number}.png", png(seed=number) + (b"poison" if number == 2 else b""))
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    assert job.plan(run.scoring_run_id) == [0]
    deaths = 0
    while run_worker(settings, "scoring", "poison", run.scoring_run_id) != 0:
        deaths += 1
        assert deaths <= 5, "the task's five retries would not have sufficed"
        scored = states(settings).count("scored")
        assert scored == {1: 0, 2: 2}.get(deaths, 4), (
            "first all scans together, then each in isolation, those without a crash first"
        )
    assert deaths == 4
    assert states(settings) == ["scored", "scored", "rejected", "scored", "scored"]
    assert rows(settings, "select reason, detail from rejection") == [
        ("processing_failed", "3 workers crashed while they processed only this scan")
    ]
    assert job.reconcile(run.scoring_run_id).is_balanced


def test_files_that_crash_decoders_are_rejected(settings: Settings, put: Put) -> None:
    words = [b"", b"segfault", b"", b"allocate", b"", b"hang", b""]
    for number, word in enumerate(words):
        put(f"{number}.png", png(seed=number) + b" " + word)
    job = ScoringJob.open(settings)
    run, _ = job.begin(run_key="night")
    (chunk,) = job.plan(run.scoring_run_id)
    pool = DecoderPool(seconds=2, memory=1024**3, decode="tests.imaging.bad_decoders:by_last_word")
    model = job._loaded(run)[0]
    source = ScanSource(store=job.store, pseudonym_key=b"key" * 16, pool=pool)
    counts = score_chunk(job.engine, run, chunk, source=source, model=model)
    pool.close()
    assert counts == {"scored": 4, "rejected": 3}
    assert states(settings) == ["rejected" if word else "scored" for word in words]
    assert rows(settings, "select reason from rejection order by scan_id") == [
        ("decoder_crashed",),
        ("decoder_out_of_memory",),
        ("decoder_timeout",),
    ]
    assert job.reconcile(run.scoring_run_id).is_balanced


class TestNoObjectKeyInLogs:
    """Airflow logs the whole traceback of a failed task, with chained exceptions."""

    def lines(self, work: Callable[[], object]) -> str:
        with pytest.raises(BrainTumorError) as caught:
            work()
        return "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize("fault", [(500, "InternalError"), (403, "ExpiredToken")])
    def test_when_s3_fails(self, proxied: Settings, s3_proxy: FaultyS3, put: Put, fault: tuple[int, str]) -> None:
        put("Jane_Doe.png", png())
        s3_proxy.faults["Jane_Doe"] = fault
        lines = self.lines(lambda: run_scoring_job(proxied, run_key="night"))
        assert "Traceback" in lines and "Doe" not in lines

    def test_when_s3_is_unreachable(self, settings: Settings, put: Put) -> None:
        put("Jane_Doe.png", png())
        job = ScoringJob.open(settings)
        run, _ = job.begin(run_key="night")
        job.plan(run.scoring_run_id)
        dead = ScoringJob.open(replace(settings, s3_endpoint="http://127.0.0.1:9"))
        dead._models.update(job._models or {run.scoring_run_id: job._loaded(run)})
        lines = self.lines(lambda: dead.score(run.scoring_run_id, 0))
        assert "could not be read" in lines and "Doe" not in lines

    def test_when_postgres_refuses_a_row(self, settings: Settings, put: Put) -> None:
        put("Jane_Doe.png", png())
        change(settings, "alter table scan_location add check (key not like '%Doe%')")
        lines = self.lines(lambda: run_scoring_job(settings, run_key="night"))
        assert "violates check constraint" in lines and "Doe" not in lines
