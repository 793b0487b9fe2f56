"""Test two runs that list one prefix at the same time. Neither supersedes a scan that the other one listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import md5
from threading import Event, Thread

import pytest

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from braintumor.scoring.discovery import discover
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.scoring.run import ScoringRun, open_run
from braintumor.serving.backend import BackendName
from tests.conftest import Put
from tests.images import png
from tests.runs import remove, states
from tests.sql import rows


class StoreWithPause(ObjectStore):
    """List like S3, and call ``before`` and ``after`` around a listing."""

    def __init__(self, store: ObjectStore, *, before: Callable[[], None], after: Callable[[], None]) -> None:
        super().__init__(store._client, endpoint=store._endpoint, credentials=None)
        self._before, self._after = before, after

    def list(self, prefix: S3Uri) -> Iterator[ObjectEntry]:
        self._before()
        yield from super().list(prefix)
        self._after()


def nothing() -> None:
    pass


def opened(settings: Settings, key: str) -> ScoringRun:
    scans = ScanPrefixes.parse(settings.require("scans_uri"))
    return open_run(ScoringJob.open(settings).engine, run_key=key, scans=scans, backend=BackendName("openvino-cpu"))


def list_while(settings: Settings, run: ScoringRun, after: Callable[[], None]) -> None:
    """Discover a run, and call ``after`` between its listing and its writes."""
    job = ScoringJob.open(settings)
    discover(job.engine, StoreWithPause(job.store, before=nothing, after=after), run)


def discover_whole(settings: Settings, run: ScoringRun) -> None:
    job = ScoringJob.open(settings)
    discover(job.engine, job.store, run)


def test_scan_added_by_an_earlier_started_run_is_unchanged(settings: Settings, put: Put) -> None:
    slow, quick = opened(settings, "slow"), opened(settings, "quick")
    has_begun, may_list = Event(), Event()
    job = ScoringJob.open(settings)

    def wait() -> None:
        has_begun.set()
        assert may_list.wait(60)

    other = Thread(target=discover, args=(job.engine, StoreWithPause(job.store, before=wait, after=nothing), slow))
    other.start()
    assert has_begun.wait(60)

    def let_the_slow_one_enter_a_new_object() -> None:
        put("late.png", png())
        may_list.set()
        other.join(60)
        assert states(settings) == ["pending"]

    list_while(settings, quick, let_the_slow_one_enter_a_new_object)
    assert states(settings) == ["pending"]
    assert rows(settings, "select run_key, count_seen from scoring_run order by run_key") == [("quick", 0), ("slow", 1)]


def test_returned_superseded_scan_stays_with_other_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    discover_whole(settings, opened(settings, "dead"))
    remove(settings, "a.png")
    discover_whole(settings, opened(settings, "next"))
    assert states(settings) == ["superseded"]

    def come_back() -> None:
        put("a.png", png(seed=1))
        discover_whole(settings, opened(settings, "other"))
        assert states(settings) == ["pending"]

    list_while(settings, opened(settings, "this"), come_back)
    assert states(settings) == ["pending"]


def test_returned_pending_scan_stays_with_other_run(settings: Settings, put: Put) -> None:
    put("a.png", png(seed=1))
    discover_whole(settings, opened(settings, "dead"))
    remove(settings, "a.png")

    def come_back() -> None:
        put("a.png", png(seed=1))
        discover_whole(settings, opened(settings, "other"))

    list_while(settings, opened(settings, "this"), come_back)
    assert states(settings) == ["pending"]
    assert run_scoring_job(settings, run_key="last").count_scored == 1


@pytest.mark.parametrize("seen_by_another", [True, False])
def test_pending_scan_without_object_is_superseded(settings: Settings, put: Put, seen_by_another: bool) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    discover_whole(settings, opened(settings, "dead"))
    remove(settings, "a.png")
    run = opened(settings, "this")
    list_while(
        settings, run, (lambda: discover_whole(settings, opened(settings, "other"))) if seen_by_another else nothing
    )
    assert states(settings) == ["superseded", "pending"]


@pytest.mark.parametrize("is_known", [True, False])
def test_version_of_a_later_listing_stays_the_present_one(settings: Settings, put: Put, is_known: bool) -> None:
    put("a.png", png(seed=1))
    if is_known:
        discover_whole(settings, opened(settings, "first"))

    def overwrite() -> None:
        put("a.png", png(seed=2))
        discover_whole(settings, opened(settings, "quick"))

    list_while(settings, opened(settings, "slow"), overwrite)
    present = "select etag from scan join scan_location using (scan_id) where not is_replaced"
    assert rows(settings, present) == [(md5(png(seed=2)).hexdigest(),)]
    put("a.png", png(seed=1))
    discover_whole(settings, opened(settings, "restored"))
    assert rows(settings, present) == [(md5(png(seed=1)).hexdigest(),)], "whatever the times of S3"
