"""What goes wrong in a night beside bad files: nothing is lost, blocks its neighbors, or passes as green."""

from __future__ import annotations

import os
import subprocess
import sys
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
from braintumor.scoring.worker import score_chunk
from tests.faulty_s3 import CUT, FaultyS3
from tests.images import png
from tests.runs import remove, states
from tests.sql import change, rows

Put = Callable[[str, bytes], None]


class TestARunThatWasNeverPlanned:
    def test_is_red_though_every_scan_could_wait(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="night")
        with pytest.raises(ScoringRunError, match=r"never planned.*`plan`"):
            night.reconcile(run.scoring_run_id)
        assert rows(settings, "select state::text, count_unaccounted from scoring_run") == [("unbalanced", 1)]

    def test_is_red_though_nothing_was_new(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        run_scoring_job(settings, run_key="first")
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="second")
        with pytest.raises(ScoringRunError, match="never planned"):
            night.reconcile(run.scoring_run_id)
        night.plan(run.scoring_run_id)
        assert night.reconcile(run.scoring_run_id).count_known == 1


class TestWhatS3Refuses:
    def test_stops_nobody_else_and_is_tried_again_each_night(
        self, settings: Settings, through: Settings, door: FaultyS3, put: Put
    ) -> None:
        for number in range(3):
            put(f"{number}.png", png(seed=number))
        door.faults["1.png"] = (403, "AccessDenied")
        balance = run_scoring_job(through, run_key="first")
        assert (balance.count_scored, balance.count_rejected) == (2, 1)
        put("new.png", png(seed=9))
        balance = run_scoring_job(through, run_key="second")
        assert (balance.count_known, balance.count_scored, balance.count_rejected) == (2, 1, 1)
        door.faults.clear()
        balance = run_scoring_job(through, run_key="third")
        assert (balance.count_known, balance.count_scored) == (3, 1)
        assert rows(settings, "select reason, count(*) from rejection group by 1") == [("access_denied", 2)]
        assert states(settings) == ["scored"] * 4

    def test_at_every_object_makes_the_night_red(self, through: Settings, door: FaultyS3, put: Put) -> None:
        put("a.png", png())
        door.faults["a.png"] = (403, "AccessDenied")
        with pytest.raises(ScoringRunError, match=r"refused every object.*\(1\).*s3:GetObject"):
            run_scoring_job(through, run_key="night")

    def test_for_the_credentials_is_nobodys_rejection(self, through: Settings, door: FaultyS3, put: Put) -> None:
        put("a.png", png())
        door.faults["a.png"] = (403, "ExpiredToken")
        with pytest.raises(ObjectStoreError, match="credentials"):
            run_scoring_job(through, run_key="night")
        assert states(through) == ["pending"]


@pytest.mark.parametrize("fault", [(500, "InternalError"), CUT], ids=["error", "cut"])
def test_an_object_that_s3_cannot_deliver_leaves_the_others_scored(
    through: Settings, door: FaultyS3, put: Put, fault: tuple[int, str]
) -> None:
    for number in range(3):
        put(f"{number}.png", png(seed=number))
    door.faults["1.png"] = fault
    night = ScoringJob.open(through)
    run, _ = night.begin(run_key="night")
    (chunk,) = night.plan(run.scoring_run_id)
    with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0 could not be read"):
        night.score(run.scoring_run_id, chunk)
    assert states(through) == ["scored", "pending", "scored"]
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        night.reconcile(run.scoring_run_id)
    door.faults.clear()
    assert night.score(run.scoring_run_id, chunk) == {"scored": 1}
    assert night.reconcile(run.scoring_run_id).count_scored == 3


def test_a_worker_that_failed_in_order_gives_its_scans_back_at_once(
    settings: Settings, through: Settings, door: FaultyS3, put: Put
) -> None:
    put("a.png", png())
    door.faults["a.png"] = (500, "InternalError")
    with pytest.raises(ObjectStoreUnreachableError):
        run_scoring_job(through, run_key="first")
    assert run_scoring_job(settings, run_key="second").count_scored == 1
    assert rows(settings, "select isolated_attempts from scan") == [(0,)]


class TestWhatCameAndWent:
    def test_the_same_bytes_back_at_the_same_key_are_scored(self, settings: Settings, put: Put) -> None:
        put("a.png", png(seed=1))
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="first")
        (chunk,) = night.plan(run.scoring_run_id)
        put("a.png", png(seed=2))
        assert night.score(run.scoring_run_id, chunk) == {"superseded": 1}
        put("a.png", png(seed=1))
        assert run_scoring_job(settings, run_key="second").count_scored == 1
        assert states(settings) == ["scored"]
        assert night.reconcile(run.scoring_run_id).is_balanced

    def test_a_scan_whose_object_vanished_waits_no_longer(self, settings: Settings, put: Put) -> None:
        put("a.png", png(seed=1))
        put("b.png", png(seed=2))
        night = ScoringJob.open(settings)
        dead, _ = night.begin(run_key="dead")
        remove(settings, "a.png")
        balance = run_scoring_job(settings, run_key="next")
        assert (balance.count_seen, balance.count_scored) == (1, 1)
        assert states(settings) == ["superseded", "scored"]
        night.plan(dead.scoring_run_id)
        assert night.reconcile(dead.scoring_run_id).count_known == 2

    def test_a_scan_that_a_worker_is_at_is_left_to_it(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="first")
        (chunk,) = night.plan(run.scoring_run_id)
        assert claim(night.engine, run, chunk) is not None
        remove(settings, "a.png")
        run_scoring_job(settings, run_key="second")
        assert states(settings) == ["pending"]
        change(settings, "update scoring_chunk set lease_expires_at = now()")
        run_scoring_job(settings, run_key="third")
        assert states(settings) == ["superseded"]

    def test_other_prefixes_are_not_touched(self, settings: Settings, put: Put) -> None:
        put("one/a.png", png())
        night = ScoringJob.open(settings)
        night.begin(run_key="first", scans_uri=settings.require("scans_uri") + "one/")
        remove(settings, "one/a.png")
        put("one_more/b.png", png())
        run_scoring_job(settings, run_key="second", scans_uri=settings.require("scans_uri") + "one_more/")
        assert states(settings) == ["pending", "scored"]


_WORKER_THAT_DIES_OF_A_MARK = """
import os, sys
from braintumor.imaging.sandbox.decoder_pool import Guard
from braintumor.scoring.job import Night
from braintumor.config.settings import Settings
read = Guard.read
Guard.read = lambda self, data, **more: os._exit(9) if data.endswith(b"poison") else read(self, data, **more)
print(Night.open(Settings.from_environment()).score(1, 0))
"""


@pytest.mark.soak
def test_a_scan_that_kills_every_worker_is_set_aside_and_the_others_are_scored(settings: Settings, put: Put) -> None:
    for number in range(5):
        put(f"{number}.png", png(seed=number) + (b"poison" if number == 2 else b""))
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    assert night.plan(run.scoring_run_id) == [0]
    deaths = 0
    while _die_or_finish(settings) != 0:
        deaths += 1
        assert deaths <= 5, "the task's five retries would not have sufficed"
        scored = states(settings).count("scored")
        assert scored == {1: 0, 2: 2}.get(deaths, 4), (
            "all at once; then one by one; then those that killed nobody first"
        )
    assert deaths == 4
    assert states(settings) == ["scored", "scored", "rejected", "scored", "scored"]
    assert rows(settings, "select reason, detail from rejection") == [
        ("processing_failed", "3 workers died while they were alone with it")
    ]
    assert night.reconcile(run.scoring_run_id).is_balanced


def _die_or_finish(settings: Settings) -> int:
    command = [sys.executable, "-c", _WORKER_THAT_DIES_OF_A_MARK]
    done = subprocess.run(command, env=settings.to_environment(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode in {0, 9}, done.stderr
    return done.returncode


def test_files_that_end_their_decoders_are_rejected_and_the_night_goes_on(settings: Settings, put: Put) -> None:
    words = [b"", b"segfault", b"", b"allocate", b"", b"hang", b""]
    for number, word in enumerate(words):
        put(f"{number}.png", png(seed=number) + b" " + word)
    night = ScoringJob.open(settings)
    run, _ = night.begin(run_key="night")
    (chunk,) = night.plan(run.scoring_run_id)
    guard = DecoderPool(seconds=2, memory=1024**3, decode="tests.imaging.bad_decoders:by_last_word")
    model = night._loaded(run)[0]
    counts = score_chunk(night.engine, night.store, model, run, chunk, pseudonym_key=b"key" * 16, guard=guard)
    guard.close()
    assert counts == {"scored": 4, "rejected": 3}
    assert states(settings) == ["rejected" if word else "scored" for word in words]
    assert rows(settings, "select reason from rejection order by scan_id") == [
        ("decoder_crashed",),
        ("decoder_out_of_memory",),
        ("decoder_timeout",),
    ]
    assert night.reconcile(run.scoring_run_id).is_balanced


class TestNoObjectKeyReachesALog:
    """Airflow writes a failed task's whole traceback, with what is chained to it, into the log."""

    def said(self, work: Callable[[], object]) -> str:
        with pytest.raises(BrainTumorError) as caught:
            work()
        return "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize("fault", [(500, "InternalError"), (403, "ExpiredToken")])
    def test_when_s3_fails(self, through: Settings, door: FaultyS3, put: Put, fault: tuple[int, str]) -> None:
        put("Jane_Doe.png", png())
        door.faults["Jane_Doe"] = fault
        said = self.said(lambda: run_scoring_job(through, run_key="night"))
        assert "Traceback" in said and "Doe" not in said

    def test_when_s3_is_away(self, settings: Settings, put: Put) -> None:
        put("Jane_Doe.png", png())
        night = ScoringJob.open(settings)
        run, _ = night.begin(run_key="night")
        night.plan(run.scoring_run_id)
        dead = ScoringJob.open(replace(settings, s3_endpoint="http://127.0.0.1:9"))
        dead._models.update(night._models or {run.scoring_run_id: night._loaded(run)})
        said = self.said(lambda: dead.score(run.scoring_run_id, 0))
        assert "could not be read" in said and "Doe" not in said

    def test_when_postgres_refuses_a_row(self, settings: Settings, put: Put) -> None:
        put("Jane_Doe.png", png())
        change(settings, "alter table scan_location add check (key not like '%Doe%')")
        said = self.said(lambda: run_scoring_job(settings, run_key="night"))
        assert "violates check constraint" in said and "Doe" not in said
