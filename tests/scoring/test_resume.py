"""Test that a failed object or chunk does not stop the others, and that a run key resumes its run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ObjectStoreUnreachableError, ScoringRunError
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest, open_rescore_run
from braintumor.s3 import ObjectStore
from braintumor.scoring import discovery
from braintumor.scoring.job import ScoringJob, run_scoring_job
from tests.conftest import Put, printed, run_braintumor
from tests.faulty_s3 import FaultyS3
from tests.images import png
from tests.models import add_model, promote
from tests.runs import states
from tests.sql import change, rows


class TestUndeliveredObject:
    def test_other_chunks_are_scored_and_the_key_resumes(self, proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
        for number in range(3):
            put(f"{number}.png", png(seed=number))
        s3_proxy.faults["0.png"] = (500, "InternalError")
        lines: list[str] = []
        with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0"):
            run_scoring_job(proxied, run_key="night", chunk_size=1, progress=lines.append)
        assert states(proxied) == ["pending", "scored", "scored"]
        assert rows(proxied, "select state::text, count_unaccounted from scoring_run") == [("unbalanced", 1)]
        assert "RED" in lines[-1]
        s3_proxy.faults.clear()
        assert run_scoring_job(proxied, run_key="night", chunk_size=1).count_scored == 3

    def test_command_exits_with_retry_code_and_run_key(self, proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
        put("a.png", png())
        s3_proxy.faults["a.png"] = (500, "InternalError")
        done = run_braintumor(proxied, "score", check=False)
        assert done.returncode == 75
        ((key,),) = rows(proxied, "select run_key from scoring_run")
        assert f"run key, to continue after an interruption: {key}" in done.stderr
        s3_proxy.faults.clear()
        assert "1 seen = 1 scored" in printed(proxied, "score", "--run-key", str(key))

    def test_other_chunks_of_a_rescore_are_scored(self, proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
        for number in range(3):
            put(f"{number}.png", png(seed=number))
        run_scoring_job(proxied, run_key="night")
        ((before,),) = rows(proxied, "select model_name from champion")
        add_model(proxied, "other")
        promote(proxied, "other")
        s3_proxy.faults["2.png"] = (500, "InternalError")  # the latest come first
        request = RescoreRequest(actor="ann", reason="r", of=(str(before),))
        with pytest.raises(ObjectStoreUnreachableError):
            rescore(proxied, request, run_key="again", chunk_size=1)
        assert rows(proxied, "select count_rescored, count_unaccounted from rescore_balance") == [(2, 1)]
        s3_proxy.faults.clear()
        assert rescore(proxied, request, run_key="again", chunk_size=1)["count_rescored"] == 3


def test_undelivered_model_scores_no_chunk(proxied: Settings, s3_proxy: FaultyS3, put: Put, tmp_path: Path) -> None:
    for number in range(3):
        put(f"{number}.png", png(seed=number))
    settings, lines = replace(proxied, cache_folder=str(tmp_path)), list[str]()
    s3_proxy.faults["model.bin"] = (500, "InternalError")
    with pytest.raises(ObjectStoreUnreachableError):
        run_scoring_job(settings, run_key="night", chunk_size=1, progress=lines.append)
    assert not [line for line in lines if line.startswith("chunk")] and states(settings) == ["pending"] * 3
    s3_proxy.faults.clear()
    assert run_scoring_job(settings, run_key="night", chunk_size=1).count_scored == 3


def test_scans_scored_before_s3_failed_are_kept(proxied: Settings, s3_proxy: FaultyS3, put: Put) -> None:
    for number in range(96):
        put(f"{number:02}.png", png(seed=number))
    for number in range(64, 96):
        s3_proxy.faults[f"{number}.png"] = (500, "InternalError")
    job = ScoringJob.open(proxied)
    run, _ = job.begin(run_key="night")
    (chunk,) = job.plan(run.scoring_run_id)
    with pytest.raises(ObjectStoreUnreachableError):
        job.score(run.scoring_run_id, chunk)
    assert states(proxied).count("scored") == 64, "the second step was under way, and is committed too"
    s3_proxy.faults.clear()
    assert job.score(run.scoring_run_id, chunk) == {"scored": 32}


class TestResumedRun:
    def test_needs_no_champion(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        job = ScoringJob.open(settings)
        job.begin(run_key="night")
        change(settings, "alter table promotion disable trigger user; delete from promotion")
        assert run_scoring_job(settings, run_key="night").count_scored == 1

    def test_key_of_a_run_is_refused_for_the_other_kind(self, settings: Settings, put: Put) -> None:
        put("a.png", png())
        run_scoring_job(settings, run_key="night")
        engine = database.connect(settings)
        with pytest.raises(ScoringRunError, match=r"'night' is that of a scoring run. Choose another"):
            open_rescore_run(engine, RescoreRequest(actor="ann", reason="r"), run_key="night")
        open_rescore_run(engine, RescoreRequest(actor="ann", reason="r"), run_key="rescore")
        engine.dispose()
        with pytest.raises(ScoringRunError, match=r"'rescore' is that of a rescore. Choose another"):
            run_scoring_job(settings, run_key="rescore")

    def test_two_processes_can_list_at_the_same_time(
        self, settings: Settings, put: Put, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put("a.png", png())
        meet, enter = Barrier(2, timeout=60), discovery.advisory_lock

        def together(*arguments: object) -> None:
            meet.wait()  # both have listed, and neither has stored
            enter(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(discovery, "advisory_lock", together)
        opened = ScoringJob.open(settings)
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(opened.begin, run_key="night") for _ in range(2)]
            assert {discovered.result()[1].count_seen for discovered in found} == {1}
        assert rows(settings, "select count(*) from scoring_run_object") == [(1,)]


def test_reader_threads_keep_the_log_context(settings: Settings) -> None:
    from structlog.contextvars import get_contextvars

    from braintumor.logs import bound

    with bound(scan_id=7):
        found = list(ObjectStore.connect(settings).concurrently(lambda _: get_contextvars(), range(40)))
    assert found == [{"scan_id": 7}] * 40
