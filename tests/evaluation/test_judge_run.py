"""Tests of the candidate of a run, its verdict and its promotion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import EvaluationError, PromotionError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.gate.artifact_checks import verify_model
from braintumor.evaluation.judge_run import judge_run, require_every_model
from braintumor.evaluation.report.compare_page import compare_page
from braintumor.evaluation.report.index_page import Reader, overview_page
from braintumor.evaluation.split_history import judged_candidates
from braintumor.promotion.approval import record_decision
from braintumor.promotion.promote import passed_verdict, promote_candidate
from braintumor.registry import model_versions, promotions
from braintumor.registry.reference_model import name_reference
from braintumor.s3 import ObjectStore, S3Uri
from devstack.stack import Stack
from tests.conftest import as_role, copied
from tests.models import RUN, add_model
from tests.sql import rows

LENIENT = """
version = 1
minimum_accuracy = 0.0
minimum_macro_recall = 0.0
minimum_class_sensitivity = 0.0
minimum_tumor_sensitivity = 0.0
maximum_calibration_error = 1.0
minimum_images_per_class = 1
noninferiority_margin = 1.0
significance = 0.0
maximum_class_recall_loss = 1.0
reference_margin = 1.0
yearly_error = 0.05
candidates_per_year = 52
same_split_share = 0.5
"""


@pytest.fixture
def lenient(settings: Settings, tmp_path: Path) -> Settings:
    return with_lenient_rules(settings, tmp_path)


def with_lenient_rules(settings: Settings, folder: Path) -> Settings:
    rules = folder / "gate.toml"
    rules.write_text(LENIENT)
    return replace(settings, gate_rules=str(rules))


@pytest.fixture(scope="module")
def two_once(stack: Stack, seeded: Settings) -> Iterator[Settings]:
    """A run with two evaluated models, `first` better on validation than `second`, and the seeded champion."""
    with copied(stack, seeded) as settings:
        for name, accuracy in (("first", 0.9), ("second", 0.8)):
            add_model(settings, name, own_graph=True)
            evaluate_model(settings, name, access_key=RUN)
            set_validation(settings, name, accuracy)
        yield settings


@pytest.fixture
def two(stack: Stack, two_once: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A copy of ``two_once`` that a test may change."""
    with copied(stack, two_once) as settings:
        yield with_lenient_rules(settings, tmp_path)


def judged(settings: Settings, run_key: str, recipes: Sequence[str] = ()) -> dict[str, Any]:
    """Judge a run with an artifact check in this process and without Keras. `test_mutants` has the full check."""
    return judge_run(settings, run_key, recipes, verify=partial(verify_model, with_keras=False))


def set_validation(settings: Settings, name: str, accuracy: float) -> None:
    rows(
        settings,
        """
        update evaluation set accuracy = :accuracy, accuracy_low = 0, accuracy_high = 1 from model_version
        where model_version.model_version_id = evaluation.model_version_id and model_name = :name
          and split = 'validation'""",
        name=name,
        accuracy=accuracy,
    )


def promote_by_hand(settings: Settings, name: str) -> None:
    engine = database.connect(settings)
    model = model_versions.find_model(engine, name)
    promotions.promote(
        engine,
        model,
        promotions.PromotionRequest(request_key=f"hand {name}", actor="tests", reason="because"),
        is_override=True,
    )
    engine.dispose()


def champion(settings: Settings) -> str:
    return model_versions.champion(database.connect(settings)).model_name


def test_a_cleared_gate_keeps_its_first_candidate(two: Settings) -> None:
    first = judged(two, RUN)
    set_validation(two, "second", 0.99)
    again = judged(two, RUN)
    assert (again["model_name"], again["gate_verdict_id"]) == (first["model_name"], first["gate_verdict_id"])
    assert first["model_name"] == "first" and "**first**" in again["markdown"]
    assert promote_candidate(two, again["gate_verdict_id"])
    assert champion(two) == "first"


def test_a_verdict_against_an_earlier_champion_is_refused(two: Settings) -> None:
    verdict = judged(two, RUN)
    promote_by_hand(two, "second")
    with pytest.raises(PromotionError, match="but the champion is now second"):
        promote_candidate(two, verdict["gate_verdict_id"])
    fresh = judged(two, RUN)
    assert fresh["gate_verdict_id"] != verdict["gate_verdict_id"] and fresh["model_name"] == "first"
    assert promote_candidate(two, fresh["gate_verdict_id"])
    assert champion(two) == "first"


def test_a_candidate_identical_to_the_champion_is_refused(lenient: Settings) -> None:
    add_model(lenient, "twin")
    evaluate_model(lenient, "twin", access_key=RUN)
    verdict = judged(lenient, RUN)
    same = f"identical to the champion {champion(lenient)}: model.xml, model.bin, reference.npy have the same sha256s"
    (reason,) = verdict["reasons"]
    assert not verdict["is_passed"] and reason.startswith(same)
    assert "(differs_from_champion); identical to the champion**" in verdict["markdown"]
    with pytest.raises(PromotionError, match="The gate refused"):
        promote_candidate(lenient, verdict["gate_verdict_id"])


def test_question_says_that_a_copy_is_identical_to_champion(two: Settings) -> None:
    markdown = judged(two, RUN)["markdown"]
    count = rows(two, "select count_image from evaluation where split = 'test' limit 1")[0][0]
    assert f"Identical to the champion {champion(two)}: both predict the same class for each of {count}" in markdown
    assert markdown.count("| identical |") == 6
    assert markdown.index("| recall of pituitary |") < markdown.index("| finite_figures |")
    rows(
        two,
        """
        update test_prediction
        set predicted_class = cast(case predicted_class when 'normal' then 'glioma' else 'normal' end as tumor_class)
        where evaluation_id in (select evaluation_id from evaluation where model_version_id = 1 and split = 'test')""",
    )
    assert f"predict different classes for {count} of {count} test images" in judged(two, RUN)["markdown"]


EVERYTHING = Reader(sees_scoring=True, sees_rescores=True, sees_people=True)


def models_page(stack: Stack, settings: Settings, reader: Reader) -> str:
    """Return the page as the role of the plugin renders it."""
    return overview_page(database.connect(as_role(stack, settings, Role.REVIEWER)), reader)


def test_models_page_links_the_candidate_without_decision(stack: Stack, two: Settings) -> None:
    verdict = judged(two, RUN)
    page = models_page(stack, two, EVERYTHING)
    approval = f'href="../../dags/weekly_retrain/runs/{quote(RUN, safe="")}/tasks/approve/required_actions"'
    assert approval in page and f'Champion: <a href="model/{champion(two)}/report.html">' in page
    rows(two, "update gate_verdict set run_key = 'int8 of first'")
    page = models_page(stack, two, EVERYTHING)
    assert approval not in page and "flip_preview" not in page, "a command has no DAG run and no flip preview"
    assert "<code>braintumor model promote first</code>" in page
    rows(two, "update gate_verdict set run_key = :run", run=RUN)
    assert promote_candidate(two, verdict["gate_verdict_id"])
    page = models_page(stack, two, EVERYTHING)
    assert "Candidates without a decision" not in page and 'Champion: <a href="model/first/report.html">' in page


def test_models_page_hides_people_and_runs_without_rights(stack: Stack, two: Settings) -> None:
    verdict = judged(two, RUN)
    decision = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "Dr. Who"}}
    record_decision(two, verdict["gate_verdict_id"], decision | {"responded_at": datetime.now(UTC)})
    assert promote_candidate(two, verdict["gate_verdict_id"], approval=decision, must_be_approved=True)
    everything, restricted = (models_page(stack, two, reader) for reader in (EVERYTHING, Reader()))
    assert everything.count("Dr. Who") == 3, "the champion, the approval of the run, and the promotion"
    assert "Dr. Who" not in restricted and "<td>approve</td>" in restricted
    for words in ("Scoring runs", "Rescores"):
        assert words in everything and words not in restricted


def test_two_selected_models_are_compared(stack: Stack, two: Settings) -> None:
    engine = database.connect(as_role(stack, two, Role.REVIEWER))
    page = compare_page(engine, ["first", "second"])
    assert "They predict different classes for 0 of" in page and page.count(">identical</td>") == 6
    with pytest.raises(EvaluationError, match=r"Selected: 1\. Go back"):
        compare_page(engine, ["first", "first"])
    rows(two, "delete from evaluation where split = 'test' and model_version_id = 1")
    assert "were never evaluated on the same test images" in compare_page(engine, ["first", champion(two)])


def test_a_retry_after_the_promotion_changes_nothing(two: Settings) -> None:
    verdict = judged(two, RUN)
    assert promote_candidate(two, verdict["gate_verdict_id"])
    assert not promote_candidate(two, verdict["gate_verdict_id"])
    assert judged(two, RUN)["gate_verdict_id"] == verdict["gate_verdict_id"]
    promote_by_hand(two, "second")
    assert not promote_candidate(two, verdict["gate_verdict_id"]), "a late retry must not undo a later promotion"
    assert champion(two) == "second"
    assert promote_candidate(two, judged(two, RUN)["gate_verdict_id"]), "after another verdict it may be promoted again"


def test_a_champion_that_cannot_be_loaded_is_named_only(two: Settings, tmp_path: Path) -> None:
    fresh_cache = replace(two, cache_folder=str(tmp_path / "cache"))
    lost = champion(two)
    rows(two, "update model_version set artifact_uri = 's3://braintumor/models/gone/' where model_version_id = 1")
    verdict = judged(fresh_cache, RUN)
    assert verdict["is_passed"]
    assert f"the champion {lost} cannot be evaluated" in verdict["markdown"]
    assert "absolute rules alone decide" in verdict["markdown"]
    assert promote_candidate(two, verdict["gate_verdict_id"])


def test_a_refused_candidate_is_not_promoted(two: Settings, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(LENIENT.replace("minimum_accuracy = 0.0", "minimum_accuracy = 1.0"))
    verdict = judged(replace(two, gate_rules=str(strict)), RUN)
    assert not verdict["is_passed"] and any("accuracy" in reason for reason in verdict["reasons"])
    assert (verdict["is_new"], judged(two, RUN)["is_new"]) == (True, False), "is_new limits notifications to one"
    with pytest.raises(PromotionError, match="The gate refused"):
        promote_candidate(two, verdict["gate_verdict_id"])
    engine = database.connect(two)
    with pytest.raises(PromotionError, match="--override"):
        passed_verdict(engine, model_versions.find_model(engine, "first"))


@pytest.mark.parametrize("approval", [None, {}, {"chosen_options": ["Reject"]}])
def test_a_required_approval_blocks_the_promotion(two: Settings, approval: Any) -> None:
    verdict_id = judged(two, RUN)["gate_verdict_id"]
    with pytest.raises(PromotionError, match="was not approved"):
        promote_candidate(two, verdict_id, approval=approval, must_be_approved=True)
    decision = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "Dr. Who"}}
    assert promote_candidate(two, verdict_id, approval=decision, must_be_approved=True)
    assert rows(two, "select actor from promotion order by promotion_id desc limit 1") == [("Dr. Who",)]


def test_a_recipe_without_a_model_is_named_and_fails_the_run(two: Settings) -> None:
    recipes = ["first", "second", "vgg16"]
    assert "No evaluated model: vgg16." in judged(two, RUN, recipes)["markdown"]
    with pytest.raises(EvaluationError, match="have no evaluated model: vgg16"):
        require_every_model(two, RUN, recipes)
    assert require_every_model(two, RUN, ["first", "second"]) == 2


def test_a_run_without_a_model_is_refused(lenient: Settings) -> None:
    with pytest.raises(EvaluationError, match="No recipe of the run"):
        judged(lenient, RUN)


def test_a_retried_evaluation_is_one_test_set_access(evaluated: Settings) -> None:
    accesses = "select max(count_access) from model_leaderboard"
    assert rows(evaluated, accesses) == [(1,)]
    for key, expected in (("once", 1), ("by hand", 2)):
        evaluate_model(evaluated, "1", access_key=key)
        assert rows(evaluated, accesses) == [(expected,)]


def test_a_repeated_evaluation_keeps_the_verdict_in_the_report(two: Settings) -> None:
    judged(two, RUN)
    evaluate_model(two, "first", access_key="by hand")
    engine, store = database.connect(two), ObjectStore.connect(two)
    model = model_versions.find_model(engine, "first")
    engine.dispose()
    page, card = (
        store.read(S3Uri.parse(model.artifact_uri) / name).decode() for name in ("report.html", "model_card.md")
    )
    assert "Gate: passed" in page
    assert "| finite_figures | passed |" in card


def test_the_comparison_shows_the_papers_and_our_accuracy(two: Settings) -> None:
    rows(two, "update training_run set recipe_name = 'paper_vgg16' where recipe_name = 'first'")
    uri = judged(two, RUN)["report_uri"]
    page = ObjectStore.connect(two).read(S3Uri.parse(uri)).decode()
    row = page[page.index("<td>paper_vgg16</td>") :].partition("</tr>")[0]
    assert " to " in row, "our accuracy with its interval"
    assert page.count("<td>—</td>") == 4


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


def failed_rules(settings: Settings, verdict: dict[str, Any]) -> set[str]:
    ((stored,),) = rows(
        settings, "select rules from gate_verdict where gate_verdict_id = :id", id=verdict["gate_verdict_id"]
    )
    return {rule["name"] for rule in stored["rules"] if not rule["passed"]}


def test_the_champion_becomes_the_first_reference(two: Settings) -> None:
    verdict = judged(two, RUN)
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
    engine = database.connect(two)
    with database.transaction(engine) as connection:
        second = model_versions.find_model(engine, "second")
        counted = judged_candidates(connection, second, same_share=0.5)
    engine.dispose()
    assert counted.model_version_ids == {second.model_version_id}
