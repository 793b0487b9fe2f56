"""Test promotions, rollbacks and withdrawals, also concurrent ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import DatabaseError, NoChampionError, PromotionError
from braintumor.registry import model_versions, promotions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.serving.prediction import ReviewReason
from tests.conftest import Put
from tests.images import png
from tests.models import add_model, champions, pass_gate, promote
from tests.sql import change, rows


@pytest.fixture
def three(settings: Settings) -> Settings:
    """Promote the tests' champion, then `b`, then `c`."""
    for name in ("b", "c"):
        add_model(settings, name)
    promote(settings, "b", "c")
    return settings


def seed(settings: Settings) -> str:
    ((name,),) = rows(settings, "select model_name from model_version where model_version_id = 1")
    return str(name)


def roll_back(settings: Settings, *, store: ObjectStore | None = None, **choice: Any) -> promotions.Rollback:
    engine = database.connect(settings)
    key = choice.pop("request_key", f"back {datetime.now(UTC)}")
    request = promotions.PromotionRequest(request_key=key, actor="ann", reason=choice.pop("reason", "it errs"))
    try:
        return promotions.rollback(engine, store or ObjectStore.connect(settings), settings, request, **choice)
    finally:
        engine.dispose()


def withdraw(settings: Settings, name: str, reason: str = "mislabeled") -> bool:
    engine = database.connect(settings)
    try:
        return promotions.withdraw(engine, model_versions.find_model(engine, name), actor="ann", reason=reason)
    finally:
        engine.dispose()


def history_rows(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(
        settings, "select action, model_name, is_override, actor, reason from promotion_history order by acted_at"
    )


# Rollback


def test_second_rollback_goes_further_back(three: Settings) -> None:
    assert roll_back(three).champion.model_name == "b"
    assert champions(three) == ["b"]
    assert roll_back(three).champion.model_name == seed(three)
    with pytest.raises(PromotionError, match="no earlier champion"):
        roll_back(three)
    assert champions(three) == [seed(three)]


def test_rollback_after_promotion_restores_the_previous_champion(three: Settings) -> None:
    roll_back(three)
    add_model(three, "d")
    promote(three, "d")
    assert roll_back(three).champion.model_name == "b"


def test_rollback_to_named_former_champion_succeeds(three: Settings) -> None:
    engine = database.connect(three)
    roll_back(three)
    done = roll_back(three, to=model_versions.find_model(engine, "c"))
    engine.dispose()
    assert done.replaced and (done.replaced.model_name, done.champion.model_name) == ("b", "c")
    assert roll_back(three).champion.model_name == "b"


def test_repeated_rollback_request_changes_nothing(three: Settings) -> None:
    engine = database.connect(three)
    target = model_versions.find_model(engine, "b")
    engine.dispose()
    roll_back(three, to=target, request_key="one request")
    before = history_rows(three)
    assert roll_back(three, to=target).replaced is None
    assert roll_back(three, request_key="one request").replaced is None
    assert history_rows(three) == before


def test_rollback_to_candidate_fails(three: Settings) -> None:
    candidate = add_model(three, "d")
    with pytest.raises(PromotionError, match="d was never champion"):
        roll_back(three, to=candidate)
    assert champions(three) == ["c"]


def test_history_shows_rollback_actor_reason_and_override(three: Settings) -> None:
    pass_gate(three, "b")
    roll_back(three)
    assert history_rows(three)[-1] == ("rollback", "b", True, "ann", "it errs")
    assert rows(three, "select action, actor, is_override from champion") == [("rollback", "ann", True)]


def damage(store: ObjectStore, graph: S3Uri) -> None:
    store.write(graph, store.read(graph)[:-1])


@pytest.mark.parametrize(
    ("harm", "words"),
    [(damage, "is not the file that was registered"), (lambda store, graph: store.delete([graph]), "is gone")],
    ids=["damaged", "gone"],
)
def test_rollback_fails_if_files_in_s3_are_missing_or_damaged(
    three: Settings, harm: Callable[[ObjectStore, S3Uri], None], words: str
) -> None:
    store, target = ObjectStore.connect(three), add_model(three, "d", own_files=True)
    promote(three, "d", "c")
    model_versions.load_model(store, three, target)
    harm(store, S3Uri.parse(target.artifact_uri) / "model.bin")
    before = history_rows(three)
    with pytest.raises(PromotionError, match=f"d cannot predict, so nothing was changed.*{words}"):
        roll_back(three)
    assert history_rows(three) == before and champions(three) == ["c"]


class _Meddling(ObjectStore):
    """Promote another model at the first read of an object."""

    meddle: Callable[[], None] | None = None

    def read(self, uri: S3Uri, *, etag: str | None = None, max_bytes: int | None = None) -> bytes:
        if self.meddle:
            done, self.meddle = self.meddle, None
            done()
        return super().read(uri, etag=etag, max_bytes=max_bytes)


def test_rollback_fails_if_champion_changes_during_file_check(three: Settings) -> None:
    add_model(three, "d")
    store = _Meddling.connect(three)
    store.meddle = partial(promote, three, "d")
    with pytest.raises(PromotionError, match="The promotion history changed"):
        roll_back(three, store=store)
    assert champions(three) == ["d"]


def test_two_tries_of_one_rollback_at_once_are_one_step(three: Settings) -> None:
    store = _Meddling.connect(three)
    store.meddle = partial(roll_back, three, request_key="back")
    assert roll_back(three, store=store, request_key="back").replaced is None
    assert champions(three) == ["b"]


def test_rollback_during_a_run_does_not_change_its_model(three: Settings, put: Put) -> None:
    for number in range(3):
        put(f"{number}.png", png(seed=number))
    night = ScoringJob.open(three)
    run, _ = night.begin(run_key="night")
    first, *others = night.plan(run.scoring_run_id, chunk_size=1)
    night.score(run.scoring_run_id, first)
    roll_back(three)
    fresh = ScoringJob.open(three)  # because a task on another worker opens its own job
    for chunk in others:
        fresh.score(run.scoring_run_id, chunk)
    assert fresh.reconcile(run.scoring_run_id).count_scored == 3
    assert rows(three, "select distinct model_name from current_prediction") == [("c",)]
    put("3.png", png(seed=3))
    run_scoring_job(three, run_key="next night")
    assert rows(three, "select model_name from current_prediction where scan_id = 4") == [("b",)]


# Withdrawal


def test_withdrawal_puts_predictions_on_worklist_unchanged(three: Settings, engine: Engine, put: Put) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(three, run_key="of c")
    before = rows(three, "select p::text from prediction p")
    done = roll_back(three, with_withdrawal=True)
    put("b.png", png(seed=2))
    run_scoring_job(three, run_key="of b")
    reasons = dict(rows(three, "select model_name, 'model_withdrawn' = any(review_reasons) from current_prediction"))
    assert reasons == {"c": True, "b": False}
    assert rows(three, "select p::text from prediction p where scan_id = 1") == before
    assert rows(three, "select sum(count_for_review) >= 1 from daily_summary where model_name = 'c'") == [(True,)]
    assert ReviewReason.MODEL_WITHDRAWN == "model_withdrawn"
    assert done.replaced
    assert promotions.current_predictions(engine, done.replaced) == promotions.CurrentPredictions(
        count_frame=1, count_scan=1
    )


def test_rollback_with_withdrawal_is_one_commit(three: Settings) -> None:
    change(
        three,
        """
        create function fail() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
        create trigger fails before insert on withdrawal for each row execute function fail()""",
    )
    before = history_rows(three)
    with pytest.raises(DatabaseError):
        roll_back(three, with_withdrawal=True)
    assert history_rows(three) == before and champions(three) == ["c"]


def test_override_promotes_withdrawn_model_and_ends_withdrawal(three: Settings, engine: Engine, put: Put) -> None:
    put("a.png", png(seed=1))
    run_scoring_job(three, run_key="of c")
    roll_back(three, with_withdrawal=True)
    model, verdict = model_versions.find_model(engine, "c"), pass_gate(three, "c")
    with pytest.raises(PromotionError, match=r"c was withdrawn.*Train a new model instead.*--override"):
        promotions.promote(
            engine, model, promotions.PromotionRequest(request_key="k", actor="a", reason="r"), gate_verdict_id=verdict
        )
    with pytest.raises(PromotionError, match="c was withdrawn"):
        roll_back(three, to=model)
    assert promotions.promote(
        engine, model, promotions.PromotionRequest(request_key="k", actor="a", reason="was right"), is_override=True
    )
    assert model_versions.champion(engine).standing == "champion, overridden"
    assert rows(three, "select 'model_withdrawn' = any(review_reasons) from current_prediction") == [(False,)]


def test_rollback_skips_withdrawn_model(three: Settings) -> None:
    assert withdraw(three, "b")
    assert roll_back(three).champion.model_name == seed(three)


def test_withdrawn_champion_leaves_none_until_rollback(three: Settings, engine: Engine) -> None:
    live = datetime.now(UTC)
    assert withdraw(three, "c", "sees tumors in the skull")
    assert champions(three) == []
    with pytest.raises(NoChampionError, match=r"c was withdrawn \(sees tumors in the skull\).*model rollback"):
        run_scoring_job(three, run_key="night")
    then = promotions.champion_at(engine, live)
    assert then and then.model_name == "c", "a withdrawal does not change the history"
    assert promotions.champion_at(engine, datetime.now(UTC)) is None
    assert roll_back(three).champion.model_name == "b"
    assert champions(three) == ["b"]


def test_second_withdrawal_adds_no_row(three: Settings) -> None:
    assert withdraw(three, "b")
    assert not withdraw(three, "b")
    assert len(rows(three, "select from withdrawal")) == 1


@pytest.mark.parametrize("table", ["promotion", "withdrawal", "pruning", "reference_model"])
@pytest.mark.parametrize("verb", ["update {} set actor = 'x'", "delete from {}", "truncate {} cascade"])
def test_promotion_tables_are_append_only(three: Settings, engine: Engine, table: str, verb: str) -> None:
    withdraw(three, "b")
    for filled in ("pruning", "reference_model"):
        change(three, f"insert into {filled} (model_version_id, actor, reason) values (1, 'a', 'r')")
    with (
        pytest.raises(DatabaseError, match=r"append-only|permission denied"),
        database.transaction(engine) as connection,
    ):
        connection.execute(text(verb.format(table)))


# Concurrent changes


def judged(engine: Engine, model: ModelVersion, verdict: int, key: str) -> bool:
    """Promote with a verdict, and return whether it succeeded."""
    try:
        return promotions.promote(
            engine, model, promotions.PromotionRequest(request_key=key, actor="a", reason="r"), gate_verdict_id=verdict
        )
    except PromotionError as error:
        assert "but the champion is now" in str(error)
        return False


@pytest.mark.soak
def test_one_of_two_concurrent_promotions_fails(three: Settings, engine: Engine) -> None:
    for number in range(10):
        names = [f"x{number}", f"y{number}"]
        models = [add_model(three, name) for name in names]
        verdicts = [pass_gate(three, name, run_key=name) for name in names]
        with ThreadPoolExecutor(2) as pool:
            won = list(pool.map(judged, [engine, engine], models, verdicts, names))
        assert sorted(won) == [False, True]
        assert champions(three) == [names[won.index(True)]]
    for promoted_at, number in rows(three, "select promoted_at, model_version_id from promotion"):
        champion = promotions.champion_at(engine, promoted_at)
        assert champion and champion.model_version_id == number


def test_promotion_waits_for_uncommitted_one_and_readers_do_not(three: Settings, engine: Engine) -> None:
    late, verdict = add_model(three, "late"), pass_gate(three, "late")
    add_model(three, "d")
    with ThreadPoolExecutor(1) as pool:
        with database.transaction(engine) as connection:
            promotions.lock_promotions(connection)
            connection.execute(
                text("""
                insert into promotion (request_key, action, model_version_id, is_override, actor, reason)
                select 'first', 'promote', model_version_id, true, 'a', 'r'
                from model_version where model_name = 'd'""")
            )
            racing = pool.submit(judged, engine, late, verdict, "second")
            time.sleep(0.3)
            assert not racing.done()
            assert champions(three) == ["c"], "an uncommitted promotion is not visible"
        assert racing.result() is False
    assert champions(three) == ["d"]


def test_concurrent_rollbacks_go_back_one_step(three: Settings) -> None:
    def attempt(number: int) -> bool:
        try:
            return roll_back(three, request_key=f"racing {number}").replaced is not None
        except PromotionError as error:
            return "The promotion history changed" not in str(error)

    with ThreadPoolExecutor(2) as pool:
        steps = list(pool.map(attempt, range(2)))
    taken = len(rows(three, "select from promotion where action = 'rollback'"))
    assert taken == sum(steps) >= 1
    assert champions(three) == [["b", seed(three)][taken - 1]]
