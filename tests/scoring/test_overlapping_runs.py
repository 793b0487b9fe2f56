"""Two runs list one prefix at the same time. Neither closes a scan that the other one saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event, Thread

import pytest

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from braintumor.scoring.discovery import discover
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.scoring.run import ScoringRun, open_run
from braintumor.serving.backend import BackendName
from tests.images import png
from tests.nights import remove, states
from tests.sql import rows

Put = Callable[[str, bytes], None]


class StoreWithPause(ObjectStore):
    """Lists as S3 does, and calls ``before`` and ``after`` at the two ends of a listing."""

    def __init__(self, store: ObjectStore, *, before: Callable[[], None], after: Callable[[], None]) -> None:
        super().__init__(store._client, endpoint=store._endpoint)
        self._before, self._after = before, after

    def list(self, prefix: S3Uri) -> Iterator[ObjectEntry]:
        self._before()
        yield from super().list(prefix)
        self._after()


def nothing() -> None:
    pass


def opened(settings: Settings, key: str) -> ScoringRun:
    scans = ScanPrefixes.parse(settings.require("scans_uri"))
    return open_run(ScoringJob.open(settings).engine, run_key=key, scans=scans, scored_by=BackendName("openvino-cpu"))


def list_while(settings: Settings, run: ScoringRun, after: Callable[[], None]) -> None:
    """Discover a run; ``after`` happens between the end of its listing and the moment at which it enters the ledger."""
    night = ScoringJob.open(settings)
    discover(night.engine, StoreWithPause(night.store, before=nothing, after=after), run)


def discover_whole(settings: Settings, run: ScoringRun) -> None:
    night = ScoringJob.open(settings)
    discover(night.engine, night.store, run)


def test_a_scan_that_a_run_with_an_earlier_start_entered_is_left_alone(settings: Settings, put: Put) -> None:
    slow, quick = opened(settings, "slow"), opened(settings, "quick")
    has_begun, may_list = Event(), Event()
    night = ScoringJob.open(settings)

    def wait() -> None:
        has_begun.set()
        assert may_list.wait(60)

    other = Thread(target=discover, args=(night.engine, StoreWithPause(night.store, before=wait, after=nothing), slow))
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


def test_a_superseded_scan_that_came_back_meanwhile_is_left_to_the_run_that_saw_it(
    settings: Settings, put: Put
) -> None:
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


def test_a_waiting_scan_that_was_away_for_a_moment_is_left_to_the_run_that_saw_it_again(
    settings: Settings, put: Put
) -> None:
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
def test_a_waiting_scan_whose_object_is_gone_is_still_closed(
    settings: Settings, put: Put, seen_by_another: bool
) -> None:
    put("a.png", png(seed=1))
    put("b.png", png(seed=2))
    discover_whole(settings, opened(settings, "dead"))
    remove(settings, "a.png")
    run = opened(settings, "this")
    list_while(
        settings, run, (lambda: discover_whole(settings, opened(settings, "other"))) if seen_by_another else nothing
    )
    assert states(settings) == ["superseded", "pending"]
