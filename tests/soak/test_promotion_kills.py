"""Kill a promotion again and again: there is one champion each time, and the ledger is never half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text

from braintumor import database, ledger, registry
from braintumor.evaluation.promotion import promote_candidate
from braintumor.settings import Settings
from tests.conftest import run_braintumor
from tests.models import add_model, champions, pass_gate, promote
from tests.sql import change, rows

pytestmark = pytest.mark.soak

_KILLS = 50
_NAMES = ("b", "c")

_SLOW = """
create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$;
create trigger slow_insert after insert on promotion for each row execute function linger();
create constraint trigger slow_commit after insert on promotion deferrable initially deferred
    for each row execute function linger()"""
"""Widens what lies between insert and commit, and the commit itself, from under a millisecond to 0.3 s."""


def start(settings: Settings, *command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **settings.to_environment()}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def by_command(settings: Settings, name: str, number: int) -> subprocess.Popen[bytes]:
    return start(settings, "-m", "braintumor", "model", "promote", name, "--override", "--reason", f"kill {number}")


def by_gate(settings: Settings, verdict: int) -> subprocess.Popen[bytes]:
    code = "import sys; from tests.soak.test_promotion_kills import work; work(int(sys.argv[1]))"
    return start(settings, "-c", code, str(verdict))


def work(verdict: int) -> None:
    """The task `promote` of a retrain, in the process that is to be killed."""
    promote_candidate(Settings.from_environment(), verdict)


def wait_for_backends(engine: Engine) -> None:
    """Until Postgres is done with whatever the killed process had sent."""
    deadline = time.monotonic() + 30
    others = text("""
        select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'""")
    while time.monotonic() < deadline:
        with database.transaction(engine) as connection:
            if connection.scalar(others) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the backend of the killed process did not end")


def ledger_rows(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(
        settings,
        """
        select request_key, model_name, action::text, is_override, gate_verdict_id, actor <> '', reason
        from promotion join model_version using (model_version_id) order by promotion_id""",
    )


def seconds_of_one(settings: Settings) -> float:
    started = time.monotonic()
    assert by_command(settings, "b", -1).wait(timeout=120) == 0
    return time.monotonic() - started


def test_sigkill_anywhere_in_a_promotion_leaves_one_champion_and_a_retry_completes_it(settings: Settings) -> None:
    for name in _NAMES:
        add_model(settings, name)
    promote(settings, *_NAMES)
    change(settings, _SLOW)
    engine, rng, whole = database.connect(settings), random.Random(11), seconds_of_one(settings)
    outcomes: dict[str, int] = {"nothing": 0, "promoted": 0, "killed": 0}
    for number in range(_KILLS):
        before, was = ledger_rows(settings), champions(settings)
        name = next(other for other in _NAMES if [other] != was)
        is_gate = number % 2 == 0
        verdict = pass_gate(settings, name, run_key=f"run {number}") if is_gate else 0
        process = by_gate(settings, verdict) if is_gate else by_command(settings, name, number)
        time.sleep(whole * 1.1 * (number + rng.random()) / _KILLS)  # every part of the way has its kill
        process.send_signal(signal.SIGKILL)
        outcomes["killed"] += process.wait() == -signal.SIGKILL
        engine.dispose()
        wait_for_backends(engine)
        after = ledger_rows(settings)
        if after == before:
            assert champions(settings) == was
            outcomes["nothing"] += 1
        else:
            assert after[:-1] == before, "one row more, and no other changed"
            _, promoted, action, is_override, verdict_id, has_actor, reason = after[-1]
            assert (promoted, action, is_override, has_actor) == (name, "promote", not is_gate, True)
            assert (verdict_id, reason) == ((verdict, "Passed") if is_gate else (None, f"kill {number}"))
            assert champions(settings) == [name]
            outcomes["promoted"] += 1
        retry(settings, name, verdict, number)
        assert champions(settings) == [name]
        if is_gate:
            assert len(ledger_rows(settings)) == len(before) + 1, "killed or not, the gate's promotion is there once"
        found = ledger.champion_at(engine, datetime.now(UTC))
        assert found == registry.champion(engine) and found.model_name == name
    engine.dispose()
    print(outcomes, f"{whole:.1f} s each")
    assert outcomes["nothing"] >= 10 and outcomes["promoted"] >= 5, "the kills missed one side of the commit"
    assert outcomes["killed"] >= 40


def retry(settings: Settings, name: str, verdict: int, number: int) -> None:
    if verdict:
        assert by_gate(settings, verdict).wait(timeout=120) == 0
    else:
        run_braintumor(settings, "model", "promote", name, "--override", "--reason", f"retry {number}")
