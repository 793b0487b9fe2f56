"""Kill promotions repeatedly, and check for one champion and a complete promotion history each time."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from typing import Any

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.promotion.promote import promote_candidate
from braintumor.registry import model_versions, promotions
from tests.conftest import printed
from tests.models import add_model, champions, pass_gate, promote
from tests.runs import end, start_process
from tests.soak.promoting import APPLICATION, promote_by_command, promote_by_gate
from tests.sql import change, rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

_KILLS = int(os.environ.get("KILLS", "30"))
_LINGERS = 0.2
"""Seconds that the insert and its commit take, instead of less than a millisecond."""
_START, _CHECK, _WRITE = 0.2, 1.0, 2.5 * _LINGERS
"""Seconds from start to connection, from there to the insert, and from the insert to the end.

The first two are for an idle machine. On a busy machine these kills only happen earlier.
"""
_NAMES = ("b", "c")

_SLOW = f"""
create function linger() returns trigger language plpgsql as
    $$ begin perform pg_sleep({_LINGERS}); return null; end $$;
create trigger slow_insert after insert on promotion for each row execute function linger();
create constraint trigger slow_commit after insert on promotion deferrable initially deferred
    for each row execute function linger()"""
"""Slows down the insert and the commit."""


def is_connected(engine: Engine, *, writes: bool = False) -> bool:
    """Check that the process has a connection, or with `writes` one that is inserting a promotion."""
    at_work = text("""
        select count(*) from pg_stat_activity
        where application_name = :name and (not :writes or wait_event = 'PgSleep')""")
    with database.transaction(engine) as connection:
        return bool(connection.scalar(at_work, {"name": APPLICATION, "writes": writes}))


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(engine: Engine, process: ForkServerProcess, rng: random.Random, number: int) -> bool:
    """Kill in turn between start and connection, between connection and insert, and between insert and end.

    Returns whether the process was still alive. Postgres has then finished all its statements.
    """
    part = number % 3
    if part > 0:
        wait_until(lambda: not process.is_alive() or is_connected(engine, writes=part == 2))
    time.sleep(rng.uniform(0, (_START, _CHECK, _WRITE)[part]))
    process.kill()
    was_alive = end(process) == -signal.SIGKILL
    wait_until(lambda: not is_connected(engine))
    return was_alive


def promotion_rows(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(
        settings,
        """
        select request_key, model_name, action::text, is_override, gate_verdict_id, actor <> '', reason
        from promotion join model_version using (model_version_id) order by promotion_id""",
    )


def test_killed_promotion_leaves_one_champion_and_can_be_retried(settings: Settings) -> None:
    for name in _NAMES:
        add_model(settings, name)
    promote(settings, *_NAMES)
    change(settings, _SLOW)
    engine, rng = database.connect(settings), random.Random(11)
    count, split = Counter[str](), Counter[bool]()
    while count["killed"] < _KILLS:
        number = count.total()
        assert number < 3 * _KILLS, f"most ended before they were killed: {count}"
        before, was = promotion_rows(settings), champions(settings)
        name = next(other for other in _NAMES if [other] != was)
        verdict = pass_gate(settings, name, run_key=f"run {number}") if number % 2 == 0 else 0
        if verdict:
            process = start_process(promote_by_gate, settings, verdict)
        else:
            process = start_process(promote_by_command, settings, name, "--override", "--reason", f"kill {number}")
        count["killed" if kill(engine, process, rng, number) else "ended before"] += 1
        is_promoted = promotion_rows(settings) != before
        if is_promoted:
            check_new_row(settings, before, name, verdict, number)
        assert champions(settings) == ([name] if is_promoted else was)
        split[is_promoted] += 1
        retry(settings, name, verdict, number)
        assert champions(settings) == [name]
        if verdict:
            assert len(promotion_rows(settings)) == len(before) + 1, "the promotion exists once, killed or not"
        champion = promotions.champion_at(engine, datetime.now(UTC))
        assert champion == model_versions.champion(engine) and champion.model_name == name
    engine.dispose()
    print(dict(count), "had committed:", dict(split))
    assert min(split[True], split[False]) >= max(1, _KILLS // 20), "the kills missed one side of the commit"


def check_new_row(settings: Settings, before: list[tuple[Any, ...]], name: str, verdict: int, number: int) -> None:
    """Check that there is one new and complete row, and that no other row changed."""
    *earlier, (_, promoted, action, is_override, verdict_id, has_actor, reason) = promotion_rows(settings)
    assert earlier == before
    assert (promoted, action, has_actor, is_override) == (name, "promote", True, not verdict)
    assert (verdict_id, reason) == ((verdict, "Passed") if verdict else (None, f"kill {number}"))


def retry(settings: Settings, name: str, verdict: int, number: int) -> None:
    if verdict:
        promote_candidate(settings, verdict)
    else:
        printed(settings, "model", "promote", name, "--override", "--reason", f"retry {number}")
