from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.errors import EvaluationError, GateRulesError
from braintumor.evaluation.gate import GateRules, RuleOutcome, Verdict, judge
from braintumor.evaluation.metrics import Evaluation
from braintumor.labels import TumorClass

RULES = GateRules.load()
Build = Callable[..., Evaluation]


def _only_failure(verdict: Verdict) -> RuleOutcome:
    assert not verdict.passed
    (failed,) = verdict.failed
    assert failed.name in verdict.summary
    return failed


def test_a_good_candidate_passes_and_every_rule_says_why(good: Evaluation) -> None:
    verdict = judge(good, RULES)
    assert verdict.passed
    assert verdict.rules_version == RULES.version
    assert verdict.summary == "Passed: all 10 rules hold; no champion: absolute rules alone decide"
    reasons = {rule.name: rule.reason for rule in verdict.rules}
    assert reasons["sensitivity_glioma"] == "recall of glioma 0.90 reaches the floor 0.60 (45 of 50)"
    assert all(reasons.values())
    assert not [name for name in reasons if "change" in name]


def test_low_accuracy_alone_is_refused(good: Evaluation) -> None:
    failed = _only_failure(judge(good, replace(RULES, minimum_accuracy=0.95)))
    assert failed.reason == "accuracy 0.92 is below the floor 0.95 (183 of 200)"
    assert (failed.value, failed.bound) == (good.accuracy, 0.95)


def test_low_macro_recall_alone_is_refused(good: Evaluation) -> None:
    failed = _only_failure(judge(good, replace(RULES, minimum_macro_recall=0.95)))
    assert failed.reason == "macro recall 0.92 is below the floor 0.95"


def test_one_weak_class_alone_is_refused(evaluation_of: Build) -> None:
    weak = evaluation_of([[17, 24, 0, 0], [0, 60, 0, 0], [0, 0, 60, 0], [0, 0, 0, 60]], confidence=0.9)
    failed = _only_failure(judge(weak, RULES))
    assert failed.name == "sensitivity_glioma"
    assert failed.reason == "recall of glioma 0.41 is below the floor 0.60 (17 of 41)"


def test_tumours_called_normal_alone_are_refused(evaluation_of: Build) -> None:
    blind = evaluation_of([[40, 0, 10, 0], [0, 41, 9, 0], [0, 0, 50, 0], [0, 0, 9, 41]], confidence=0.86)
    failed = _only_failure(judge(blind, RULES))
    assert failed.name == "tumor_sensitivity"
    assert failed.reason == "tumour sensitivity 0.81 is below the floor 0.85 (122 of 150 tumours called a tumour)"


def test_misplaced_confidence_alone_is_refused(evaluation_of: Build) -> None:
    timid = evaluation_of([[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 50, 0], [0, 0, 0, 50]], confidence=0.6)
    failed = _only_failure(judge(timid, RULES))
    assert failed.reason == "expected calibration error 0.40 is above 0.15"


def test_too_few_test_images_of_a_class_alone_are_refused(evaluation_of: Build) -> None:
    small = evaluation_of([[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 9, 0], [0, 0, 0, 50]], confidence=0.97)
    failed = _only_failure(judge(small, RULES))
    assert failed.reason == "the rarest class, normal, has 9 test images, fewer than 10"


def test_an_absent_class_is_refused(evaluation_of: Build) -> None:
    verdict = judge(evaluation_of([[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 50, 0], [0, 0, 0, 0]]), RULES)
    assert [rule.name for rule in verdict.failed] == ["sensitivity_pituitary", "images_per_class"]
    assert verdict.failed[0].reason == "recall of pituitary is undefined: the test split has no such images"


def test_the_champion_itself_passes_against_itself(good: Evaluation) -> None:
    verdict = judge(good, RULES, champion=good)
    assert verdict.passed
    assert verdict.summary == "Passed: all 16 rules hold; compared with the champion"
    assert "no change, within" in verdict.rules[-1].reason


def test_lower_accuracy_than_the_champion_alone_is_refused(evaluation_of: Build) -> None:
    champion = evaluation_of([[48, 2, 0, 0], [0, 48, 2, 0], [0, 0, 48, 2], [0, 0, 0, 50]])
    candidate = evaluation_of([[46, 4, 0, 0], [0, 46, 4, 0], [0, 0, 46, 4], [0, 0, 0, 50]])
    failed = _only_failure(judge(candidate, RULES, champion))
    assert failed.name == "accuracy_change"
    assert failed.reason == "accuracy 0.940 against the champion's 0.970: a loss of 0.03, above the allowed 0.02"
    assert failed.value == pytest.approx(-0.03)


def test_a_loss_of_exactly_the_margin_is_allowed(evaluation_of: Build) -> None:
    champion = evaluation_of([[46, 4, 0, 0], [0, 46, 4, 0], [0, 0, 46, 4], [0, 0, 4, 46]])  # 0.92
    candidate = evaluation_of([[45, 5, 0, 0], [0, 45, 5, 0], [0, 0, 45, 5], [0, 0, 5, 45]])  # 0.90
    assert champion.accuracy - candidate.accuracy > RULES.maximum_accuracy_loss  # by a binary fraction
    assert judge(candidate, RULES, champion).passed


def test_one_class_lost_alone_is_refused(evaluation_of: Build) -> None:
    champion = evaluation_of([[48, 2, 0, 0], [0, 44, 6, 0], [0, 0, 45, 5], [0, 0, 0, 50]])
    candidate = evaluation_of([[42, 8, 0, 0], [0, 46, 4, 0], [0, 0, 48, 2], [0, 0, 0, 50]])
    failed = _only_failure(judge(candidate, RULES, champion))
    assert failed.name == "recall_change_glioma"
    assert (
        failed.reason == "recall of glioma 0.840 against the champion's 0.960: a loss of 0.12, above the allowed 0.10"
    )


def test_a_champion_judged_on_other_images_is_refused(evaluation_of: Build, good: Evaluation) -> None:
    champion = evaluation_of([[45, 5, 0, 0], [0, 45, 5, 0], [0, 0, 45, 5], [0, 0, 4, 45]])
    failed = _only_failure(judge(good, RULES, champion))
    assert failed.name == "same_test_images"
    assert "evaluate the champion again" in failed.reason


def test_figures_that_are_not_numbers_are_refused(good: Evaluation) -> None:
    verdict = judge(replace(good, accuracy=math.nan, log_loss=math.inf), RULES)
    assert [rule.name for rule in verdict.failed] == ["finite_figures", "accuracy"]
    assert verdict.failed[0].reason.startswith("not a finite number: accuracy, log_loss;")
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_class_figure_that_is_not_a_number_is_refused(good: Evaluation) -> None:
    broken = replace(good.of(TumorClass.NORMAL), recall=math.nan)
    candidate = replace(good, per_class=(*good.per_class[:2], broken, good.per_class[3]))
    failed = {rule.name: rule.reason for rule in judge(candidate, RULES, good).failed}
    assert set(failed) == {"finite_figures", "sensitivity_normal", "recall_change_normal"}
    assert "recall of normal" in failed["finite_figures"]
    champions = {rule.name: rule.reason for rule in judge(good, RULES, candidate).failed}
    assert champions == {"recall_change_normal": "the champion's recall of normal is not a finite number"}


def test_a_calibration_error_that_is_not_a_number_is_refused(good: Evaluation) -> None:
    verdict = judge(replace(good, expected_calibration_error=math.nan), RULES)
    assert [rule.name for rule in verdict.failed] == ["finite_figures", "calibration_error"]


def test_validation_figures_are_not_judged(evaluation_of: Build, good: Evaluation) -> None:
    validation = replace(good, split="validation")
    with pytest.raises(EvaluationError, match="'validation'"):
        judge(validation, RULES)
    with pytest.raises(EvaluationError, match="'validation'"):
        judge(good, RULES, champion=validation)


def test_a_reason_shows_enough_digits_to_be_believed(good: Evaluation) -> None:
    failed = _only_failure(judge(replace(good, accuracy=0.7996), RULES))
    assert "0.7996 is below the floor 0.8000" in failed.reason


def test_a_verdict_survives_json_and_reads_as_a_table(good: Evaluation) -> None:
    verdict = judge(good, replace(RULES, minimum_accuracy=0.95), champion=good)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    lines = verdict.to_markdown().splitlines()
    assert lines[0].startswith("**Refused: 1 of 16 rules failed (accuracy)")
    assert lines[2:4] == ["| rule | outcome | value | bound | reason |", "|---|---|---:|---:|---|"]
    assert any(line.startswith("| accuracy | **FAILED** | 0.915 | 0.95 |") for line in lines)
    assert len(lines) == 4 + 16


def test_the_packaged_rules_are_read_when_no_path_is_given() -> None:
    assert (RULES.version, RULES.minimum_accuracy, RULES.maximum_class_recall_loss) == (1, 0.80, 0.10)


def _write(folder: Path, **changes: object) -> Path:
    values = RULES.to_dict() | changes
    path = folder / "rules.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in values.items() if value is not None))
    return path


def test_another_rule_file_is_read(tmp_path: Path) -> None:
    assert GateRules.load(str(_write(tmp_path, version=7, minimum_accuracy=0.9))).version == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minimum_acuracy": 0.9}, ["unknown key 'minimum_acuracy'", "Allowed: version", "0.9", "spelling"]),
        ({"minimum_accuracy": None}, ["missing key 'minimum_accuracy'", "Required: version", "Add it"]),
        ({"minimum_accuracy": 1.5}, ["minimum_accuracy must be a number from 0 to 1", "Received: 1.5", "Correct"]),
        ({"minimum_accuracy": "nan"}, ["minimum_accuracy must be", "Received: nan"]),
        ({"minimum_accuracy": "true"}, ["minimum_accuracy must be", "Received: True"]),
        ({"maximum_accuracy_loss": -0.1}, ["maximum_accuracy_loss must be", "Received: -0.1"]),
        ({"maximum_accuracy_loss": '"0.1"'}, ["maximum_accuracy_loss must be", "Received: '0.1'"]),
        ({"minimum_images_per_class": 2.5}, ["minimum_images_per_class must be a whole number, 1 or more", "2.5"]),
        ({"version": 0}, ["version must be a whole number", "Received: 0"]),
    ],
)
def test_a_wrong_rule_file_is_refused(tmp_path: Path, changes: dict[str, object], words: list[str]) -> None:
    with pytest.raises(GateRulesError) as caught:
        GateRules.load(_write(tmp_path, **changes))
    assert [word for word in ["rules.toml", *words] if word not in str(caught.value)] == []


def test_a_missing_rule_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateRulesError, match=r"none\.toml cannot be read: No such file.*BRAINTUMOR_GATE_RULES"):
        GateRules.load(tmp_path / "none.toml")


def test_a_rule_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("version: 1")
    with pytest.raises(GateRulesError, match="is not TOML"):
        GateRules.load(path)
