"""Test which predictions are current after a rescore, and which models may rescore."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from braintumor.config.settings import Settings
from braintumor.errors import DatabaseError, ModelIntegrityError, NoChampionError, RescoreError
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.scoring.job import run_scoring_job
from tests.images import png
from tests.models import add_model, pass_gate, promote
from tests.rescoring.conftest import Put, current_predictions, go_back, opened, page, run, withdraw
from tests.runs import remove
from tests.sql import change, rows

# Current predictions after a rescore


def test_champion_replaces_predictions_of_withdrawn_model(scored: Settings, first: str) -> None:
    before = rows(scored, "select p::text from prediction p order by scan_id")
    waiting = "select count(*) from current_prediction where 'model_withdrawn' = any(review_reasons)"
    assert rows(scored, waiting) == [(6,)]
    done = run(scored)
    assert (done["count_asked"], done["count_rescored"], done["count_unaccounted"]) == (6, 6, 0)
    assert current_predictions(scored) == [(first, 6)] and rows(scored, waiting) == [(0,)]
    kept = "select p::text from prediction p where scoring_run_id = 1 order by scan_id"
    assert rows(scored, kept) == before, "earlier rows do not change"
    assert rows(scored, "select state::text, kind::text from scoring_run where run_key = 'rescore'") == [
        ("balanced", "rescore")
    ]
    facts = "select model_name, is_champion, actor, reason, count_asked, count_rescored from rescore_balance"
    assert rows(scored, facts) == [(first, True, "ann", "b errs", 6, 6)]


def test_only_requested_scans_are_selected(scored: Settings, first: str) -> None:
    change(scored, "update prediction set scored_at = now() - make_interval(days => scan_id::int)")
    at = datetime.now(UTC) + timedelta(hours=12)
    done = run(scored, since=at - timedelta(days=4), until=at - timedelta(days=1), limit=2)
    assert done["count_asked"] == 2
    assert rows(scored, "select scan_id from rescore order by 1") == [(1,), (2,)], "the last scored first"
    assert rows(scored, "select count_matching, count_asked from rescore_run") == [(3, 2)]
    assert current_predictions(scored) == sorted([(first, 2), ("b", 4)])
    assert run(scored, "the rest")["count_asked"] == 4
    assert run(scored, "nothing is left")["count_asked"] == 0


def test_predictions_of_a_named_model_are_replaced(settings: Settings, put: Put, first: str) -> None:
    put("a.png", png())
    run_scoring_job(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    assert run(settings)["count_asked"] == 0, "no model is withdrawn"
    assert run(settings, "named", of=(first,))["count_rescored"] == 1
    assert current_predictions(settings) == [("b", 1)]
    assert run(settings, "again", of=("b",))["count_asked"] == 0, "the champion would replace its own"


def test_earlier_prediction_of_champion_is_current_again(settings: Settings, put: Put, first: str) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(settings, run_key="night")
    add_model(settings, "b")
    promote(settings, "b")
    run(settings, "to b", of=(first,))
    before = rows(settings, "select p::text from prediction p order by model_version_id")
    go_back(settings, first, with_withdrawal=True)
    remove(settings, "a.png")
    done = run(settings, "and back")
    assert (done["count_already_scored"], done["count_rescored"], done["count_compared"]) == (1, 0, 1)
    assert current_predictions(settings) == [(first, 1)]
    assert rows(settings, "select p::text from prediction p order by model_version_id") == before
    add_model(settings, "c")
    promote(settings, "c")
    put("a.png", png(seed=1))
    assert run(settings, "on to c", of=(first,))["count_rescored"] == 1
    assert current_predictions(settings) == [("c", 1)], "a later run's new prediction is current before a reused one"
    assert run_scoring_job(settings, run_key="next night").count_known == 1


def test_later_requested_rescore_is_current(scored: Settings) -> None:
    add_model(scored, "c")
    slow, slow_run = opened(scored, "slow")
    promote(scored, "c")
    run(scored, "quick")
    assert current_predictions(scored) == [("c", 6)]
    assert slow.score(slow_run, 0) == {"rescored": 6}
    assert slow.reconcile(slow_run).is_balanced
    assert current_predictions(scored) == [("c", 6)], "a late rescore with an older model changes no current prediction"


# Models that may rescore


def test_non_champion_needs_a_recorded_approval(scored: Settings, first: str) -> None:
    add_model(scored, "c")
    promote(scored, "c")
    with pytest.raises(RescoreError, match=rf"{first} is not the champion \(c is\).*--allow-non-champion"):
        run(scored, model=first)
    assert current_predictions(scored) == [("b", 6)]
    assert rows(scored, "select count(*) from rescore_run") == [(0,)]
    job, number = opened(scored, model=first, is_approved=True, reason="c cannot score old scanners")
    assert "not the champion, approved by ann" in str(
        job.open_run(RescoreRequest(actor="bob", reason="r"), run_key="rescore")
    )
    job.score(number, 0)
    assert "are current because the requester approved it" in page(scored, job.report(number))
    assert current_predictions(scored) == [(first, 6)]
    with pytest.raises(DatabaseError, match="append-only"):
        change(scored, "update rescore_run set actor = 'other'")
    with pytest.raises(DatabaseError, match="permission denied"):
        change(scored, "truncate rescore_run cascade")


def test_ungated_or_withdrawn_model_never_rescores(scored: Settings) -> None:
    add_model(scored, "c")
    with pytest.raises(RescoreError, match="c was never champion and the gate never passed it"):
        run(scored, model="c", is_approved=True)
    pass_gate(scored, "c")
    assert run(scored, model="c", is_approved=True)["count_rescored"] == 6
    with pytest.raises(RescoreError, match="b was withdrawn"):
        run(scored, "again", model="b", is_approved=True)
    withdraw(scored, "c")
    assert current_predictions(scored) == [("c", 6)]
    assert run(scored, "the champion")["count_rescored"] == 6


def test_request_needs_reason_existing_model_and_champion(scored: Settings, first: str) -> None:
    with pytest.raises(RescoreError, match="Give a reason"):
        run(scored, reason="  ")
    with pytest.raises(ModelIntegrityError, match="no model 'no-such-model'"):
        run(scored, of=("no-such-model",))
    withdraw(scored, first)
    with pytest.raises(NoChampionError, match="was withdrawn"):
        run(scored)
    assert rows(scored, "select count(*) from scoring_run where kind = 'rescore'") == [(0,)]


def test_older_model_than_the_replaced_one_gives_warning(scored: Settings, first: str) -> None:
    lines: list[str] = []
    request = RescoreRequest(actor="ann", reason="b errs")
    done = rescore(scored, request, run_key="rescore", progress=lines.append)
    warning = f"{first} is older than b: its predictions replace those of a newer model."
    assert lines[1:] == [warning, "chunk 1 of 1"] and warning in done["text"] and warning in page(scored, done)
