"""Tests of the candidate of a run, its verdict and its promotion."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import EvaluationError, PromotionError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.judge_run import require_every_model
from braintumor.promotion import promote
from braintumor.promotion.approval import record_decision
from braintumor.promotion.promote import passed_verdict, promote_candidate, roll_back
from braintumor.registry import model_versions, promotions
from braintumor.s3 import ObjectStore, S3Uri
from tests.evaluation.judging import LENIENT, JudgedRun, champion, judged, set_validation
from tests.models import RUN, add_model
from tests.sql import rows


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


def withdraw(settings: Settings, name: str) -> None:
    engine = database.connect(settings)
    promotions.withdraw(engine, model_versions.find_model(engine, name), actor="ann", reason="it errs")
    engine.dispose()


def test_a_cleared_gate_keeps_its_first_candidate(judged_two: JudgedRun) -> None:
    two, first = judged_two
    set_validation(two, "second", 0.99)
    again = judged(two, RUN)
    assert (again["model_name"], again["gate_verdict_id"]) == (first["model_name"], first["gate_verdict_id"])
    assert first["model_name"] == "first" and "**first**" in again["markdown"]
    assert promote_candidate(two, again["gate_verdict_id"])
    assert champion(two) == "first"


def test_a_verdict_against_an_earlier_champion_is_refused(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    promote_by_hand(two, "second")
    with pytest.raises(PromotionError, match="but the champion is now second"):
        promote_candidate(two, verdict["gate_verdict_id"])
    fresh = judged(two, RUN)
    assert fresh["gate_verdict_id"] != verdict["gate_verdict_id"] and fresh["model_name"] == "first"
    assert promote_candidate(two, fresh["gate_verdict_id"])
    assert champion(two) == "first"


def test_question_compares_with_the_champion_of_its_verdict(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    before = champion(two)
    promote_by_hand(two, "second")
    assert "the champion second" in judged(two, RUN)["markdown"]
    promote_by_hand(two, before)
    again = judged(two, RUN)
    assert again["gate_verdict_id"] == verdict["gate_verdict_id"]
    assert f"the champion {before}" in again["markdown"] and "the champion second" not in again["markdown"]


def test_a_retried_promotion_refreshes_both_reports(judged_two: JudgedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    two, verdict = judged_two
    before, refreshed = champion(two), []
    monkeypatch.setattr(promote, "refresh_reports", lambda *given: refreshed.append(given[2]) or ["a warning"])
    for _ in range(2):
        promote_candidate(two, verdict["gate_verdict_id"])
    assert [[model.model_name for model in models] for models in refreshed] == [["first", before]] * 2


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


def test_a_copy_of_a_withdrawn_model_is_refused(lenient: Settings) -> None:
    taken = champion(lenient)
    add_model(lenient, "twin")
    evaluate_model(lenient, "twin", access_key=RUN)
    withdraw(lenient, taken)
    (reason,) = judged(lenient, RUN)["reasons"]
    assert reason.startswith(f"identical to {taken}, withdrawn on 20")


def test_a_copy_of_a_champion_that_a_rollback_undid_is_refused(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    before = champion(two)
    promote_candidate(two, verdict["gate_verdict_id"])
    rows(two, "update training_run set run_key = 'next' where recipe_name = 'second'")
    rows(
        two,
        """
        update model_version set artifact_sha256s = first.artifact_sha256s, artifact_uri = first.artifact_uri
        from model_version as first where first.model_name = 'first' and model_version.model_name = 'second'""",
    )
    roll_back(two, promotions.PromotionRequest(request_key="back", actor="ann", reason="it errs"), to=before)
    assert judged(two, "next")["reasons"][0].startswith("identical to first, which a rollback replaced")


def test_a_copy_of_a_rejected_model_names_the_rejection(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    response = {"chosen_options": ["Reject"], "responded_at": datetime.now(UTC), "responded_by_user": {"name": "ann"}}
    record_decision(two, verdict["gate_verdict_id"], response)
    promote_by_hand(two, "second")
    assert "identical to first, which a person rejected on 20" in judged(two, RUN)["markdown"]


def test_question_says_that_a_copy_is_identical_to_champion(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    markdown = verdict["markdown"]
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


def test_a_retry_after_the_promotion_changes_nothing(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    assert promote_candidate(two, verdict["gate_verdict_id"])
    assert not promote_candidate(two, verdict["gate_verdict_id"])
    assert judged(two, RUN)["gate_verdict_id"] == verdict["gate_verdict_id"]
    promote_by_hand(two, "second")
    with pytest.raises(PromotionError, match="promoted first before, and the champion is now second"):
        promote_candidate(two, verdict["gate_verdict_id"])
    assert champion(two) == "second"
    assert promote_candidate(two, judged(two, RUN)["gate_verdict_id"]), "after another verdict it may be promoted again"


def move_files(settings: Settings, name: str, folder: str) -> str:
    """Give a model another S3 prefix, and return the earlier one."""
    ((before,),) = rows(settings, "select artifact_uri from model_version where model_name = :name", name=name)
    rows(settings, "update model_version set artifact_uri = :uri where model_name = :name", uri=folder, name=name)
    return str(before)


def test_an_undone_promotion_is_not_repeated_silently(judged_two: JudgedRun) -> None:
    two, verdict = judged_two
    before = champion(two)
    promote_candidate(two, verdict["gate_verdict_id"])
    roll_back(two, promotions.PromotionRequest(request_key="back", actor="ann", reason="it errs"), to=before)
    again = judged(two, RUN)["gate_verdict_id"]
    with pytest.raises(PromotionError, match=f"champion is now {before}.*rollback --to first"):
        promote_candidate(two, again)


def test_lost_files_of_the_champion_stop_the_gate(two: Settings, tmp_path: Path) -> None:
    settings, lost = replace(two, cache_folder=str(tmp_path / "cache")), champion(two)
    before = move_files(two, lost, "s3://braintumor/models/gone/")
    with pytest.raises(
        EvaluationError, match=f"The champion {lost} cannot be evaluated.*is gone.*model withdraw {lost}"
    ):
        judged(settings, RUN)
    assert rows(two, "select count(*) from gate_verdict") == [(0,)]
    move_files(two, lost, before)
    assert f"the champion {lost}" in judged(settings, RUN)["markdown"]


def test_a_champion_of_other_preprocessing_is_named_only(two: Settings, tmp_path: Path) -> None:
    lost = champion(two)
    move_files(two, lost, "s3://braintumor/models/gone/")
    rows(two, "update model_version set preprocessing = 'older' where model_version_id = 1")
    verdict = judged(replace(two, cache_folder=str(tmp_path / "cache")), RUN)
    assert verdict["is_passed"]
    assert f"the champion {lost} cannot be evaluated" in verdict["markdown"]
    assert "absolute rules alone decide" in verdict["markdown"]
    assert promote_candidate(two, verdict["gate_verdict_id"])


def test_restored_files_of_the_candidate_are_judged(two: Settings) -> None:
    before = move_files(two, "first", "s3://braintumor/models/gone/")
    with pytest.raises(EvaluationError, match="The gate stored no verdict on first, because A file of the model"):
        judged(two, RUN)
    assert rows(two, "select count(*) from gate_verdict") == [(0,)]
    move_files(two, "first", before)
    assert judged(two, RUN)["is_passed"]


def test_models_are_evaluated_again_after_an_erasure(two: Settings) -> None:
    evaluate_model(two, "1", access_key="before the erasure")
    erased = "(select min(image_sha256) from snapshot_image where split = 'test' and label = 'normal')"
    for table in ("test_prediction", "snapshot_image"):
        rows(two, f"delete from {table} where image_sha256 = {erased}")
    verdict = judged(two, RUN)
    assert verdict["is_passed"], verdict["reasons"]


def test_a_refused_candidate_is_not_promoted(two: Settings, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(LENIENT.replace("minimum_accuracy = 0.0", "minimum_accuracy = 1.0"))
    verdict = judged(replace(two, gate_rules=str(strict)), RUN)
    assert not verdict["is_passed"] and any("accuracy" in reason for reason in verdict["reasons"])
    again = judged(two, RUN)
    assert (verdict["is_new"], again["is_new"]) == (True, False), "is_new limits notifications to one"
    assert verdict["note"] == "" and not again["is_passed"], "corrected rules do not renew the verdict"
    assert "trigger the DAG `weekly_retrain` again" in again["note"]
    with pytest.raises(PromotionError, match="The gate refused"):
        promote_candidate(two, verdict["gate_verdict_id"])
    engine = database.connect(two)
    with pytest.raises(PromotionError, match="--override"):
        passed_verdict(engine, model_versions.find_model(engine, "first"))


@pytest.mark.parametrize("approval", [None, {}, {"chosen_options": ["Reject"]}])
def test_a_required_approval_blocks_the_promotion(judged_two: JudgedRun, approval: Any) -> None:
    two, verdict = judged_two
    verdict_id = verdict["gate_verdict_id"]
    with pytest.raises(PromotionError, match="was not approved"):
        promote_candidate(two, verdict_id, approval=approval, must_be_approved=True)
    decision = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "Dr. Who"}}
    ((judged_at,),) = rows(two, "select judged_at from gate_verdict")
    for answered_at in (None, judged_at - timedelta(seconds=1)):
        with pytest.raises(PromotionError, match="The approval is older than the verdict"):
            promote_candidate(two, verdict_id, approval=decision | {"responded_at": answered_at}, must_be_approved=True)
    decision["responded_at"] = (judged_at + timedelta(minutes=1)).isoformat()
    assert promote_candidate(two, verdict_id, approval=decision, must_be_approved=True)
    assert rows(two, "select actor from promotion order by promotion_id desc limit 1") == [("Dr. Who",)]


def test_a_recipe_without_a_model_is_named_and_fails_the_run(two: Settings) -> None:
    recipes = ["first", "second", "vgg16"]
    assert "No evaluated model: vgg16." in judged(two, RUN, recipes)["markdown"]
    with pytest.raises(EvaluationError, match="have no evaluated model: vgg16"):
        require_every_model(two, RUN, recipes)
    assert require_every_model(two, RUN, ["first", "second"]) == 2


def test_a_run_without_a_model_is_refused(lenient: Settings) -> None:
    with pytest.raises(EvaluationError, match=r"No recipe of the run .* first task that failed: `recipes`"):
        judged(lenient, RUN)


def test_a_retried_evaluation_is_one_test_set_access(evaluated: Settings) -> None:
    accesses = "select max(count_access) from model_leaderboard"
    assert rows(evaluated, accesses) == [(1,)]
    for key, expected in (("once", 1), ("by hand", 2)):
        evaluate_model(evaluated, "1", access_key=key)
        assert rows(evaluated, accesses) == [(expected,)]


def test_a_repeated_evaluation_keeps_the_verdict_in_the_report(judged_two: JudgedRun) -> None:
    two, _ = judged_two
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
