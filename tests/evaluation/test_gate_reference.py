"""Tests of the reference model and of the number of candidates of a test split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.split_history import judged_candidates
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.registry.reference_model import name_reference
from tests.evaluation.judging import LENIENT, JudgedRun, champion, judged
from tests.models import RUN, add_model
from tests.sql import rows

RIGHT, WRONG = "label", "case when label = 'normal' then 'glioma' else 'normal' end::tumor_class"


def set_predictions(settings: Settings, name: str, predicted: str) -> None:
    """Make all stored test predictions of a model right or wrong. Its metrics stay."""
    rows(
        settings,
        f"""
        update test_prediction set predicted_class = {predicted} where evaluation_id in (
            select evaluation_id from evaluation join model_version using (model_version_id)
            where model_name = :name and split = 'test')""",
        name=name,
    )


def name_as_reference(settings: Settings, name: str) -> None:
    engine = database.connect(settings)
    name_reference(engine, model_versions.find_model(engine, name), actor="ann", reason="validated here")
    engine.dispose()


def with_rules(settings: Settings, folder: Path, **bounds: float) -> Settings:
    """Return settings with lenient rules, except for these bounds."""
    text = "\n".join(line for line in LENIENT.splitlines() if line.partition(" ")[0] not in bounds)
    rules = folder / "changed.toml"
    rules.write_text(text + "".join(f"\n{name} = {bound}" for name, bound in bounds.items()))
    return replace(settings, gate_rules=str(rules))


def known_model(settings: Settings, name: str) -> ModelVersion:
    engine = database.connect(settings)
    model = model_versions.find_model(engine, name)
    engine.dispose()
    return model


def counted_with(settings: Settings, candidate: ModelVersion) -> frozenset[int]:
    engine = database.connect(settings)
    with database.transaction(engine) as connection:
        counted = judged_candidates(connection, candidate, same_share=0.5)
    engine.dispose()
    return counted.model_version_ids


def failed_rules(settings: Settings, verdict: dict[str, Any]) -> set[str]:
    ((stored,),) = rows(
        settings, "select rules from gate_verdict where gate_verdict_id = :id", id=verdict["gate_verdict_id"]
    )
    return {rule["name"] for rule in stored["rules"] if not rule["passed"]}


def test_the_champion_becomes_the_first_reference(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    assert rows(two, "select model_version_id, actor from reference_model") == [(1, "gate")]
    assert rows(two, "select reference_model_version_id, count_judged from gate_verdict") == [(1, 1)]
    assert "The gate has judged 1 candidate on this test split, 1 in the last 365 days." in verdict["markdown"]
    assert f"The reference model is {champion(two)}." in verdict["markdown"]


def test_a_candidate_worse_than_the_reference_is_refused(two: Settings, tmp_path: Path) -> None:
    evaluate_model(two, "1", access_key="by hand")
    for name, predicted in (("first", WRONG), (champion(two), WRONG), ("second", RIGHT)):
        set_predictions(two, name, predicted)
    name_as_reference(two, "second")
    verdict = judged(with_rules(two, tmp_path, reference_margin=0.06, significance=0.05), RUN)
    assert failed_rules(two, verdict) == {"reference_noninferior", "reference_mcnemar"}
    assert "The reference model is second." in verdict["markdown"]


def test_a_champion_better_than_the_reference_replaces_it(two: Settings) -> None:
    evaluate_model(two, "1", access_key="by hand")
    set_predictions(two, champion(two), RIGHT)
    set_predictions(two, "second", WRONG)
    name_as_reference(two, "second")
    judged(two, RUN)
    ((number, actor, reason),) = rows(
        two, "select model_version_id, actor, reason from reference_model order by reference_model_id desc limit 1"
    )
    assert (number, actor) == (1, "gate")
    assert reason.startswith("more accurate than second with 99.90% confidence")


def test_a_lost_reference_is_not_assessed(two: Settings, tmp_path: Path) -> None:
    add_model(two, "third")
    name_as_reference(two, "third")
    rows(two, "update model_version set artifact_uri = 's3://braintumor/models/gone/' where model_name = 'third'")
    verdict = judged(replace(two, cache_folder=str(tmp_path / "cache")), RUN)
    assert verdict["is_passed"]
    assert (
        "Not assessed: the reference model, because third was not evaluated on this test split" in verdict["markdown"]
    )
    assert rows(two, "select reference_model_version_id from gate_verdict") == [(None,)]


def test_a_candidate_beyond_the_years_budget_is_refused(two: Settings, tmp_path: Path) -> None:
    rows(two, "update training_run set run_key = 'next' where recipe_name = 'second'")
    one_a_year = with_rules(two, tmp_path, candidates_per_year=1)
    assert judged(one_a_year, RUN)["is_passed"]
    verdict = judged(one_a_year, "next")
    assert failed_rules(two, verdict) == {"test_split_budget"}
    assert rows(two, "select count_judged from gate_verdict order by gate_verdict_id") == [(1,), (2,)]
    first = known_model(two, "first")
    assert counted_with(two, first) == {first.model_version_id}, "a refusal by the budget does not use the budget"


def test_candidates_of_another_test_split_do_not_count(two: Settings) -> None:
    rows(two, "update training_run set run_key = 'next' where recipe_name = 'second'")
    judged(two, RUN)
    rows(two, "update gate_verdict set judged_at = now() - interval '366 days'")
    verdict = judged(two, "next")
    assert "The gate has judged 2 candidates on this test split, 1 in the last 365 days." in verdict["markdown"]
    rows(
        two,
        """
        insert into snapshot (snapshot_id, source_uri, count_image, count_copy, left_out)
        values ('other', 's3://b/', 1, 0, '[]');
        update training_run set snapshot_id = 'other' where recipe_name = 'first'""",
    )
    second = known_model(two, "second")
    assert counted_with(two, second) == {second.model_version_id}
