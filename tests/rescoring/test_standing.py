"""Old scans answered again: whose answers stand afterwards, and who may give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import (
    DatabaseError,
    ModelIntegrityError,
    NoChampionError,
    RescoreError,
)
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.scoring.job import run_scoring_job
from tests.images import png
from tests.models import add_model, pass_gate, promote
from tests.nights import remove
from tests.rescoring.conftest import Put, go_back, opened, page, run, standing, withdraw
from tests.sql import change, rows

# What people are told afterwards


def test_the_champion_answers_what_a_withdrawn_model_did_and_the_worklist_is_empty_of_it(
    night: Settings, first: str
) -> None:
    before = rows(night, "select p::text from prediction p order by scan_id")
    waiting = "select count(*) from current_prediction where 'model_withdrawn' = any(review_reasons)"
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
    run_scoring_job(settings, run_key="night")
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
    run_scoring_job(settings, run_key="night")
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
    assert run_scoring_job(settings, run_key="next night").count_known == 1


def test_of_two_rescores_the_one_asked_for_later_stands_whichever_ends_last(night: Settings) -> None:
    add_model(night, "c")
    slow, slow_run = opened(night, "slow")
    promote(night, "c")
    run(night, "quick")
    assert standing(night) == [("c", 6)]
    assert slow.score(slow_run, 0) == {"rescored": 6}
    assert slow.reconcile(slow_run).is_balanced
    assert standing(night) == [("c", 6)], "an older model's answers come late, and surprise nobody"


# Who may answer


def test_a_model_that_is_not_the_champion_answers_only_when_somebody_approves_it_and_that_stays_on_record(
    night: Settings, first: str
) -> None:
    add_model(night, "c")
    promote(night, "c")
    with pytest.raises(RescoreError, match=rf"{first} is not the champion \(c is\).*--allow-non-champion"):
        run(night, model=first)
    assert standing(night) == [("b", 6)]
    assert rows(night, "select count(*) from rescore_run") == [(0,)]
    job, number = opened(night, model=first, is_approved=True, reason="c has no answer for old scanners")
    assert "not the champion, approved by ann" in str(
        job.ask(RescoreRequest(actor="bob", reason="r"), run_key="rescore")
    )
    job.score(number, 0)
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
    request = RescoreRequest(actor="ann", reason="b errs")
    done = rescore(night, request, run_key="rescore", say=said.append)
    warning = f"{first} is older than b: its answers replace those of a newer model."
    assert said[-1] == warning and warning in done["markdown"] and warning in page(night, done)
