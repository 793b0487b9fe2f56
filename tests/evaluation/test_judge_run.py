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
from braintumor.promotion.approval import record_decision
from braintumor.promotion.promote import passed_verdict, promote_candidate
from braintumor.registry import model_versions, promotions
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
            add_model(settings, name)
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
