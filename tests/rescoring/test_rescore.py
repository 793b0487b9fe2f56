"""Old scans answered again: exactly once, on record, never in silence, and the night still balances."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from braintumor import database, ledger, registry
from braintumor.errors import (
    DatabaseError,
    ModelIntegrityError,
    NoChampionError,
    ObjectStoreUnreachableError,
    RescoreError,
    ScoringRunError,
    UnbalancedRunError,
)
from braintumor.labels import CLASSES
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.rescoring.job import Rescore, rescore
from braintumor.rescoring.request import Request, ask
from braintumor.rescoring.work import Outcome, State, settle
from braintumor.scoring.night import Night, score_night
from braintumor.settings import Settings
from tests.conftest import run_braintumor
from tests.faulty_s3 import FaultyS3, faulty_s3
from tests.models import add_model, pass_gate, promote
from tests.preview.test_preview import READERS, say
from tests.scoring.test_faults import remove
from tests.scoring.test_night import png
from tests.sql import change, rows

GLIOMA, MENINGIOMA, NORMAL, PITUITARY = CLASSES
Put = Callable[[str, bytes], None]


@pytest.fixture
def first(settings: Settings) -> str:
    """The name of the tests' champion, who comes before `b`."""
    ((name,),) = rows(settings, "select model_name from model_version where model_version_id = 1")
    return str(name)


@pytest.fixture
def night(settings: Settings, put: Put, first: str) -> Settings:
    """Six scans that `b` answered, which then was withdrawn: the champion before it is champion again."""
    add_model(settings, "b")
    promote(settings, "b")
    for number in range(6):
        put(f"surname-{number}.png", png(seed=number))
    score_night(settings, run_key="night")
    go_back(settings, first, with_withdrawal=True)
    return settings


def go_back(settings: Settings, name: str, *, with_withdrawal: bool = False) -> None:
    engine = database.connect(settings)
    ledger.rollback(
        engine,
        ObjectStore.connect(settings),
        settings,
        request_key=f"back {datetime.now(UTC)}",
        actor="ann",
        reason="it errs",
        to=registry.find_model(engine, name),
        with_withdrawal=with_withdrawal,
    )
    engine.dispose()


def withdraw(settings: Settings, name: str) -> None:
    engine = database.connect(settings)
    ledger.withdraw(engine, registry.find_model(engine, name), actor="ann", reason="it errs")
    engine.dispose()


def run(settings: Settings, key: str = "rescore", *, chunk_size: int = 200, **wanted: Any) -> dict[str, Any]:
    request = Request(actor="ann", **{"reason": "b errs", **wanted})
    return rescore(settings, request, run_key=key, chunk_size=chunk_size)


def opened(settings: Settings, key: str = "rescore", *, chunk_size: int = 200, **wanted: Any) -> tuple[Rescore, int]:
    """A rescore that has been asked for, and its number."""
    job = Rescore.open(settings)
    request = Request(actor="ann", **{"reason": "b errs", **wanted})
    return job, job.ask(request, run_key=key, chunk_size=chunk_size).scoring_run_id


def standing(settings: Settings) -> list[tuple[str, int]]:
    """Whose answers stand, and how many frames of each."""
    found = rows(settings, "select model_name, count(*) from latest_prediction group by 1 order by 1")
    return [(name, count) for name, count in found]


def outcomes(settings: Settings) -> dict[str, int]:
    return dict(rows(settings, "select outcome, count(*) from rescore_outcome group by 1"))  # type: ignore[arg-type]


# What people are told afterwards


def test_the_champion_answers_what_a_withdrawn_model_did_and_the_worklist_is_empty_of_it(
    night: Settings, first: str
) -> None:
    before = rows(night, "select p::text from prediction p order by scan_id")
    waiting = "select count(*) from latest_prediction where 'model_withdrawn' = any(review_reasons)"
    assert rows(night, waiting) == [(6,)]
    done = run(night)
    assert (done["count_asked"], done["count_rescored"], done["count_unaccounted"]) == (6, 6, 0)
    assert standing(night) == [(first, 6)] and rows(night, waiting) == [(0,)]
    kept = "select p::text from prediction p where scoring_run_id = 1 order by scan_id"
    assert rows(night, kept) == before, "what was said stays as it was written"
    assert rows(night, "select state::text, kind::text from scoring_run where run_key = 'rescore'") == [
        ("balanced", "rescore")
    ]
    facts = "select model_name, is_champion, actor, reason, count_asked, count_rescored from rescore_balance"
    assert rows(night, facts) == [(first, True, "ann", "b errs", 6, 6)]


def test_only_what_was_asked_for_is_taken_up(night: Settings, first: str) -> None:
    change(night, "update prediction set scored_at = now() - make_interval(days => scan_id::int)")
    at = datetime.now(UTC) + timedelta(hours=12)
    done = run(night, since=at - timedelta(days=4), until=at - timedelta(days=1), limit=2)
    assert done["count_asked"] == 2
    assert rows(night, "select scan_id from rescore order by 1") == [(1,), (2,)], "those answered last first"
    assert rows(night, "select count_matching, count_asked from rescore_run") == [(3, 2)]
    assert standing(night) == sorted([(first, 2), ("b", 4)])
    assert run(night, "the rest")["count_asked"] == 4
    assert run(night, "nothing is left")["count_asked"] == 0


def test_the_answers_of_a_named_model_are_replaced_though_nobody_withdrew_it(
    settings: Settings, put: Put, first: str
) -> None:
    put("a.png", png())
    score_night(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    assert run(settings)["count_asked"] == 0, "nobody is withdrawn"
    assert run(settings, "named", of=(first,))["count_rescored"] == 1
    assert standing(settings) == [("b", 1)]
    assert run(settings, "again", of=("b",))["count_asked"] == 0, "the champion would replace its own"


def test_where_the_champion_had_answered_before_its_old_answer_stands_again(
    settings: Settings, put: Put, first: str
) -> None:
    put("a.png", png(seed=1))
    score_night(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    run(settings, "to b", of=(first,))
    before = rows(settings, "select p::text from prediction p order by model_version_id")
    go_back(settings, first, with_withdrawal=True)
    remove(settings, "a.png")
    done = run(settings, "and back")
    assert (done["count_already"], done["count_rescored"], done["count_compared"]) == (1, 0, 1)
    assert standing(settings) == [(first, 1)]
    assert rows(settings, "select p::text from prediction p order by model_version_id") == before
    add_model(settings, "c")
    promote(settings, "c")
    put("a.png", png(seed=1))
    assert run(settings, "on to c", of=(first,))["count_rescored"] == 1
    assert standing(settings) == [("c", 1)], "a later run's new answer stands before one that stood again"
    assert score_night(settings, run_key="next night").count_known == 1


def test_of_two_rescores_the_one_asked_for_later_stands_whichever_ends_last(night: Settings, first: str) -> None:
    add_model(night, "c")
    slow, slow_run = opened(night, "slow")
    promote(night, "c")
    run(night, "quick")
    assert standing(night) == [("c", 6)]
    assert slow.score(slow_run, [0]) == {"rescored": 6}
    assert slow.reconcile(slow_run).is_balanced
    assert standing(night) == [("c", 6)], "an older model's answers come late, and surprise nobody"


# Who may answer


def test_a_model_that_is_not_the_champion_answers_only_when_somebody_approves_it_and_that_stays_on_record(
    night: Settings, first: str
) -> None:
    add_model(night, "c")
    promote(night, "c")
    with pytest.raises(RescoreError, match=rf"{first} is not the champion \(c is\).*--approve"):
        run(night, model=first)
    assert standing(night) == [("b", 6)]
    assert rows(night, "select count(*) from rescore_run") == [(0,)]
    job, number = opened(night, model=first, is_approved=True, reason="c has no answer for old scanners")
    assert "not the champion, approved by ann" in str(job.ask(Request(actor="bob", reason="r"), run_key="rescore"))
    job.score(number, job.chunks(number))
    assert "stand because they were approved so" in page(night, job.report(number))
    assert standing(night) == [(first, 6)]
    with pytest.raises(DatabaseError, match="append-only"):
        change(night, "update rescore_run set actor = 'nobody'")
    with pytest.raises(DatabaseError, match="permission denied"):
        change(night, "truncate rescore_run cascade")


def test_who_never_passed_the_gate_or_was_withdrawn_answers_nothing_approved_or_not(night: Settings) -> None:
    add_model(night, "c")
    with pytest.raises(RescoreError, match="c was never champion and the gate never passed it"):
        run(night, model="c", is_approved=True)
    pass_gate(night, "c")
    assert run(night, model="c", is_approved=True)["count_rescored"] == 6
    with pytest.raises(RescoreError, match="b was withdrawn"):
        run(night, "again", model="b", is_approved=True)
    withdraw(night, "c")
    assert standing(night) == [("c", 6)]
    assert run(night, "the champion at last")["count_rescored"] == 6


def test_a_reason_a_model_that_exists_and_a_champion_are_asked_for_and_nothing_is_opened_without(
    night: Settings, first: str
) -> None:
    with pytest.raises(RescoreError, match="give a reason"):
        run(night, reason="  ")
    with pytest.raises(ModelIntegrityError, match="no model 'nobody'"):
        run(night, of=("nobody",))
    withdraw(night, first)
    with pytest.raises(NoChampionError, match="was withdrawn"):
        run(night)
    assert rows(night, "select count(*) from scoring_run where kind = 'rescore'") == [(0,)]


def test_an_older_model_than_the_one_it_replaces_is_said_aloud(night: Settings, first: str) -> None:
    said: list[str] = []
    request = Request(actor="ann", reason="b errs")
    done = rescore(night, request, run_key="rescore", say=said.append)
    warning = f"{first} is older than b: its answers replace those of a newer model."
    assert said[-1] == warning and warning in done["markdown"] and warning in page(night, done)


# Exactly once


def test_scans_that_are_gone_overwritten_refused_or_unreadable_are_counted_and_stop_nothing(
    night: Settings, put: Put, door: FaultyS3, first: str
) -> None:
    remove(night, "surname-0.png")
    put("surname-1.png", png(seed=99))
    door.faults = {"surname-2.png": (403, "AccessDenied")}
    change(night, "update scan set count_frame = 2 where scan_id = 4")
    done = run(replace(night, s3_endpoint=door.url))
    assert outcomes(night) == {"gone": 2, "refused": 1, "unreadable": 1, "rescored": 2}
    assert (done["count_gone"], done["count_refused"], done["count_unreadable"]) == (2, 1, 1)
    assert standing(night) == sorted([(first, 2), ("b", 4)]), "where there is no new answer the old one stands"
    left = "select count(*) from latest_prediction where 'model_withdrawn' = any(review_reasons)"
    assert rows(night, left) == [(4,)]


@pytest.fixture
def door(settings: Settings) -> Iterator[FaultyS3]:
    with faulty_s3(settings.require("s3_endpoint")) as server:
        yield server


def test_what_s3_does_not_deliver_waits_for_the_retry_and_the_others_are_settled(
    night: Settings, door: FaultyS3
) -> None:
    door.faults = {"surname-3.png": (500, "InternalError")}
    job, number = opened(replace(night, s3_endpoint=door.url))
    with pytest.raises(ObjectStoreUnreachableError, match="1 scans of chunk 0 of rescore"):
        job.score(number, [0])
    assert outcomes(night) == {"rescored": 5, "unaccounted": 1}
    with pytest.raises(UnbalancedRunError, match=r"5 rescored.*1 UNACCOUNTED"):
        job.reconcile(number)
    assert rows(night, "select state::text from scoring_run where kind = 'rescore'") == [("unbalanced",)]
    assert rows(night, "select sum(count_taken) from rescore") == [(0,)], "S3's failure is not the scan's"
    door.faults = {}
    assert job.score(number, [0]) == {"rescored": 1}
    assert job.reconcile(number).is_balanced


def test_an_s3_that_refuses_everything_is_red(night: Settings, door: FaultyS3) -> None:
    door.faults = {"surname": (403, "AccessDenied")}
    with pytest.raises(ScoringRunError, match=r"refused every object.*\(6\).*s3:GetObject"):
        run(replace(night, s3_endpoint=door.url))


def test_a_cleared_task_and_a_worker_that_was_thought_dead_write_nothing_twice(night: Settings, first: str) -> None:
    job, number = opened(night, chunk_size=4)
    assert job.chunks(number) == [0, 1]
    assert job.score(number, [0]) == {"rescored": 4}
    before = rows(night, "select p::text from prediction p order by 1")
    assert job.score(number, [0]) == {}
    late = [Outcome(scan_id=scan_id, state=State.GONE) for (scan_id,) in rows(night, "select scan_id from rescore")]
    asked = job.ask(Request(actor="bob", reason="other words", limit=1), run_key="rescore", chunk_size=1)
    assert (asked.scoring_run_id, asked.actor, asked.count_asked) == (number, "ann", 6)
    engine = database.connect(night)
    assert settle(engine, asked, late) == {"gone": 2}, "only what is still pending"
    engine.dispose()
    assert rows(night, "select p::text from prediction p order by 1") == before
    assert standing(night) == sorted([(first, 4), ("b", 2)])
    assert job.reconcile(number).count_gone == 2


def test_two_rescores_of_the_same_scans_at_once_write_one_answer(night: Settings) -> None:
    one, first_run = opened(night, "one")
    other, second_run = opened(night, "other")
    with ThreadPoolExecutor(4) as workers:  # each rescore's chunk is worked on twice at the same time, too
        work = [workers.submit(job.score, number, [0]) for job, number in [(one, first_run), (other, second_run)] * 2]
        counts = sum((Counter(done.result()) for done in work), Counter())
    assert counts == {"rescored": 6, "already": 6}
    assert one.reconcile(first_run).is_balanced and other.reconcile(second_run).is_balanced
    assert rows(night, "select count(*), sum(count_taken) from rescore") == [(12, 0)]
    assert score_night(night, run_key="next").count_known == 6


_WORKER = """
import os, signal, sys
from braintumor.imaging import prepared
from braintumor.imaging.guard import Guard
from braintumor.rescoring import work
from braintumor.rescoring.job import Rescore
from braintumor.settings import Settings
prepared._SCANS_A_STEP = 2
kind, number = sys.argv[1:]
if kind == "mid-way":
    write, steps = work.write_predictions, []
    def write_and_die(*values, **more):
        write(*values, **more)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    work.write_predictions = write_and_die
else:
    read = Guard.read
    def die_of_a_mark(self, data, **more):
        if data.endswith(b"poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, data, **more)
    Guard.read = die_of_a_mark
print(Rescore.open(Settings.from_environment()).score(int(number), [0]))
"""


def worker(settings: Settings, kind: str, number: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WORKER, kind, str(number)]
    done = subprocess.run(command, env=settings.to_environment(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done


def test_a_worker_killed_inside_its_transaction_loses_and_doubles_nothing(night: Settings, first: str) -> None:
    job, number = opened(night)
    assert worker(night, "mid-way", number).returncode == -signal.SIGKILL
    assert outcomes(night) == {"rescored": 2, "unaccounted": 4}
    assert rows(night, "select count(*) from prediction where scoring_run_id = :run", run=number) == [(2,)]
    assert job.score(number, [0]) == {"rescored": 4}
    assert job.reconcile(number).count_rescored == 6
    assert standing(night) == [(first, 6)]


@pytest.mark.soak
def test_a_scan_that_kills_its_workers_is_set_aside_and_the_others_are_scored(
    settings: Settings, put: Put, first: str
) -> None:
    for number in range(4):
        put(f"{number}.png", png(seed=number) + (b"poison" if number == 1 else b""))
    score_night(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    job, run_id = opened(settings, of=(first,))
    deaths = 0
    while worker(settings, "poison", run_id).returncode != 0:
        deaths += 1
        assert deaths <= 5, "the task's five retries would not have sufficed"
    assert deaths == 3
    assert outcomes(settings) == {"rescored": 3, "failed": 1}
    assert job.reconcile(run_id).count_failed == 1
    assert standing(settings) == sorted([("b", 3), (first, 1)])


# The proof


@pytest.mark.parametrize(
    "loss",
    [
        "delete from prediction where scoring_run_id = 2 and scan_id = 3",
        "delete from rescore where scan_id = 3",
        "update rescore set state = 'pending' where scan_id = 3",
    ],
    ids=["prediction", "row", "state"],
)
def test_a_row_that_goes_missing_turns_the_rescore_red_and_the_next_night_too(night: Settings, loss: str) -> None:
    run(night)
    job = Rescore.open(night)
    assert job.reconcile(2).is_balanced
    change(night, loss)
    with pytest.raises(UnbalancedRunError, match=r"6 asked = 5 rescored.*1 UNACCOUNTED.*rescore_outcome"):
        job.reconcile(2)
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        score_night(night, run_key="next")


def test_a_nights_own_row_that_goes_missing_turns_the_night_red_though_a_rescore_answered_too(night: Settings) -> None:
    run(night)
    assert score_night(night, run_key="next").count_known == 6
    change(night, "delete from prediction where scoring_run_id = 1 and scan_id = 3")
    with pytest.raises(UnbalancedRunError, match="1 UNACCOUNTED"):
        Night.open(night).reconcile(1)


def test_a_rescore_is_no_night(night: Settings) -> None:
    run(night)
    assert rows(night, "select run_key from scoring_run_balance") == [("night",)]
    with pytest.raises(ScoringRunError, match="no night of number 2"):
        Night.open(night).reconcile(2)
    with pytest.raises(ScoringRunError, match="no rescore of number 1"):
        Rescore.open(night).reconcile(1)
    engine = database.connect(night)
    with pytest.raises(ScoringRunError, match="is that of a night"):
        ask(engine, Request(actor="ann", reason="r"), run_key="night")
    engine.dispose()


# What changed, shown


def page(settings: Settings, made: dict[str, Any]) -> str:
    return ObjectStore.connect(settings).read(S3Uri.parse(made["page_uri"])).decode()


def test_the_page_shows_which_standing_answers_changed_worst_first_and_never_a_key(night: Settings) -> None:
    for scan_id, before, sure in (
        (1, GLIOMA, 0.90), (2, GLIOMA, 0.60), (3, NORMAL, 0.95), (4, PITUITARY, 0.98), (5, MENINGIOMA, 0.97),
        (6, NORMAL, 0.80),
    ):  # fmt: skip
        say(night, "prediction", scan_id, before, sure)
    job, number = opened(night, "manual__2026-11-24T15:54:21+00:00")
    job.score(number, [0])
    for scan_id, after, sure in (
        (1, MENINGIOMA, 0.99), (2, NORMAL, 0.55), (3, GLIOMA, 0.99), (4, NORMAL, 0.97), (5, PITUITARY, 0.99),
        (6, NORMAL, 0.70),
    ):  # fmt: skip
        say_in(night, number, scan_id, after.value, sure)
    remove(night, "surname-0.png")
    made = job.report(number, reports_url="https://airflow/braintumor/reports")
    shown = page(night, made)
    places = [shown.index(f"Scan {scan_id}: ") for scan_id in (4, 2, 3, 5, 1)]
    assert places == sorted(places) and "Scan 6" not in shown
    assert "before: pituitary 0.980" in shown and "after: normal 0.970" in shown
    assert shown.count("data:image/jpeg;base64,") == 3 * 4 and "No picture: the object is gone" in shown
    assert "surname" not in shown and not re.search(r'(src|href)="(?!data:)', shown)
    assert "For review, not for diagnosis" in shown and "Asked for by ann: b errs" in shown
    assert "| pituitary | normal | 1 |" in made["markdown"]
    assert "5 of 6 answers changed (83.3%): 2 tumour to normal, 1 normal to tumour" in made["markdown"]
    path = "runs/manual__2026-11-24T15-54-21-00-00/rescore.html"
    assert f"(https://airflow/braintumor/reports/{path})" in made["markdown"] and made["page_uri"].endswith(path)


def say_in(settings: Settings, number: int, scan_id: int, label: str, sure: float) -> None:
    """Put an answer into the mouth of one run's model."""
    change(
        settings,
        """
        update prediction set predicted_class = cast(:label as tumor_class), confidence = :sure,
            probability_glioma = case when :label = 'glioma' then :sure else (1 - :sure) / 3 end,
            probability_meningioma = case when :label = 'meningioma' then :sure else (1 - :sure) / 3 end,
            probability_normal = case when :label = 'normal' then :sure else (1 - :sure) / 3 end,
            probability_pituitary = case when :label = 'pituitary' then :sure else (1 - :sure) / 3 end
        where scoring_run_id = :run and scan_id = :scan""",
        label=label,
        sure=sure,
        run=number,
        scan=scan_id,
    )


def test_no_object_key_is_in_what_a_rescore_keeps_or_says(night: Settings) -> None:
    done = run(night)
    kept = [rows(night, f"select t::text from {table} t") for table in ("rescore", "rescore_run", "rescore_outcome")]
    assert kept[0] and "surname" not in str(kept) + str(done)
    assert ("latest_prediction",) in rows(night, READERS, table="braintumor.rescore")


# The command


@pytest.mark.soak
def test_the_command_offered_by_a_withdrawal_answers_the_scans(night: Settings, first: str) -> None:
    said = run_braintumor(night, "model", "withdraw", "b", "--reason", "again").stdout
    offered = 'braintumor rescore --of b --reason "its model was withdrawn"'
    assert offered in said
    done = run_braintumor(night, "rescore", "--of", "b", "--reason", "its model was withdrawn", "--since", "2020-01-01")
    assert f"{first} answers 6 scans of 6 that were asked for. None of 6 answers changed." in done.stdout
    assert "rescore.html" in done.stdout and "run key" in done.stderr
    assert standing(night) == [(first, 6)]
    refused = run_braintumor(night, "rescore", "--model", "b", "--approve", "--reason", "r", check=False)
    assert refused.returncode == 1 and "b was withdrawn" in refused.stderr
