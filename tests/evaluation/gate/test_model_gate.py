from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from braintumor.errors import EvaluationError, GateRulesError
from braintumor.evaluation.gate.gate import RuleOutcome, Verdict, judge
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.gate.split_memory import SplitMemory
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.significance import ImagePrediction, ImagePredictions, PredictionPair, paired_test
from braintumor.labels import CLASSES, TumorClass

RULES = GateRules.load()
Build = Callable[..., Evaluation]


def _predictions(evaluation: Evaluation) -> ImagePredictions:
    """Return predictions with this confusion matrix, the correct ones of each class first."""
    predictions = {}
    for truth, row in zip(CLASSES, evaluation.confusion, strict=True):
        order = [truth, *(label for label in CLASSES if label is not truth)]
        predicted_classes = [label for label in order for _ in range(row[label.position])]
        for number, predicted in enumerate(predicted_classes):
            name = f"{truth} {number}"
            predictions[name] = ImagePrediction(label=truth, predicted=predicted, group_key=name)
    return predictions


def paired(candidate: Evaluation, champion: Evaluation) -> PredictionPair:
    """Pair the predictions so that as few images as possible differ."""
    return PredictionPair(candidate=_predictions(candidate), champion=_predictions(champion))


def _only_failure(verdict: Verdict) -> RuleOutcome:
    assert not verdict.passed
    (failed,) = verdict.failed
    assert failed.name in verdict.summary
    return failed


def test_a_good_candidate_passes_with_a_reason_for_every_rule(good: Evaluation) -> None:
    verdict = judge(good, RULES)
    assert verdict.passed
    assert verdict.rules_version == RULES.version
    assert verdict.summary == "Passed: all 10 rules hold; no champion: absolute rules alone decide"
    reasons = {rule.name: rule.reason for rule in verdict.rules}
    assert reasons["sensitivity_glioma"] == "recall of glioma 0.90 reaches the minimum 0.60 (45 of 50)"
    assert all(reasons.values())
    assert not [name for name in reasons if "change" in name]


def test_low_accuracy_alone_is_refused(good: Evaluation) -> None:
    failed = _only_failure(judge(good, RULES.model_copy(update={"minimum_accuracy": 0.95})))
    assert failed.reason == "accuracy 0.92 is below the minimum 0.95 (183 of 200)"
    assert (failed.value, failed.bound) == (good.accuracy, 0.95)


def test_low_macro_recall_alone_is_refused(good: Evaluation) -> None:
    failed = _only_failure(judge(good, RULES.model_copy(update={"minimum_macro_recall": 0.95})))
    assert failed.reason == "macro recall 0.92 is below the minimum 0.95"


def test_one_weak_class_alone_is_refused(evaluation_of: Build) -> None:
    weak = evaluation_of([[17, 24, 0, 0], [0, 60, 0, 0], [0, 0, 60, 0], [0, 0, 0, 60]], confidence=0.9)
    failed = _only_failure(judge(weak, RULES))
    assert failed.name == "sensitivity_glioma"
    assert failed.reason == "recall of glioma 0.41 is below the minimum 0.60 (17 of 41)"


def test_tumors_predicted_normal_alone_are_refused(evaluation_of: Build) -> None:
    blind = evaluation_of([[40, 0, 10, 0], [0, 41, 9, 0], [0, 0, 50, 0], [0, 0, 9, 41]], confidence=0.86)
    failed = _only_failure(judge(blind, RULES))
    assert failed.name == "tumor_sensitivity"
    assert failed.reason == "tumor sensitivity 0.81 is below the minimum 0.85 (122 of 150 tumors predicted as a tumor)"


def test_poor_calibration_alone_is_refused(evaluation_of: Build) -> None:
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


def test_the_champion_passes_against_itself(good: Evaluation) -> None:
    verdict = judge(good, RULES, champion=good, pair=paired(good, good))
    assert verdict.passed
    assert verdict.summary == "Passed: all 17 rules hold; compared with the champion"
    assert "no change, within" in verdict.rules[-1].reason
    reasons = {rule.name: rule.reason for rule in verdict.rules}
    assert reasons["same_test_images"].startswith("candidate and champion have predictions of the same 200 test images")
    assert reasons["accuracy_noninferior"].startswith(
        "0 images gained and 0 lost of 200, a change of accuracy of +0.000"
    )


def test_a_candidate_with_equal_gains_and_losses_passes(evaluation_of: Build) -> None:
    champion = evaluation_of([[48, 2, 0, 0], [0, 45, 5, 0], [0, 0, 48, 2], [0, 0, 0, 50]])
    candidate = evaluation_of([[45, 5, 0, 0], [0, 48, 2, 0], [0, 0, 48, 2], [0, 0, 0, 50]])
    assert judge(candidate, RULES, champion, pair=paired(candidate, champion)).passed


def test_a_significant_loss_alone_is_refused(evaluation_of: Build) -> None:
    champion = evaluation_of([[98, 2, 0, 0], [0, 98, 2, 0], [0, 0, 98, 2], [0, 0, 0, 100]])
    candidate = evaluation_of([[96, 4, 0, 0], [0, 96, 4, 0], [0, 0, 96, 4], [0, 0, 0, 100]])
    failed = _only_failure(judge(candidate, RULES, champion, pair=paired(candidate, champion)))
    assert failed.name == "mcnemar"
    assert failed.reason == (
        "of 6 images that only one of the two gets right the champion has 6: chance alone gives it as many with "
        "p = 0.02, below 0.05: significantly worse (McNemar, exact, one-sided)"
    )
    assert failed.value == pytest.approx(1 / 64)


def test_a_possible_loss_beyond_the_margin_alone_is_refused(evaluation_of: Build) -> None:
    """Losing 14 and gaining 11 of 200 is not significant, but a loss of 0.05 is not excluded either."""
    champion = evaluation_of([[49, 1, 0, 0], [0, 42, 8, 0], [0, 0, 44, 6], [0, 0, 0, 50]])
    candidate = evaluation_of([[45, 5, 0, 0], [0, 48, 2, 0], [0, 0, 49, 1], [0, 5, 5, 40]])
    rules = RULES.model_copy(update={"maximum_class_recall_loss": 0.25})
    failed = _only_failure(judge(candidate, rules, champion, pair=paired(candidate, champion)))
    assert failed.name == "accuracy_noninferior"
    assert failed.reason.startswith(
        "11 images gained and 14 lost of 200, a change of accuracy of -0.015; with 95% conf"
    )
    assert (
        "is below the margin -0.05 (paired bootstrap, 10,000 resamples of 200 groups, and an exact bound; at best +"
        in failed.reason
    )
    assert failed.value is not None and failed.value < failed.bound == -0.05


def test_a_loss_of_exactly_the_margin_is_allowed(evaluation_of: Build) -> None:
    champion = evaluation_of([[46, 4, 0, 0], [0, 46, 4, 0], [0, 0, 46, 4], [0, 0, 4, 46]])
    candidate = evaluation_of([[48, 2, 0, 0], [0, 44, 6, 0], [0, 0, 45, 5], [0, 0, 4, 46]])
    pair = paired(candidate, champion)
    low = paired_test(pair).low
    assert low < 0
    assert judge(candidate, RULES.model_copy(update={"noninferiority_margin": -low}), champion, pair=pair).passed
    assert not judge(
        candidate, RULES.model_copy(update={"noninferiority_margin": -low - 1e-6}), champion, pair=pair
    ).passed


def test_a_recall_loss_of_one_class_alone_is_refused(evaluation_of: Build) -> None:
    champion = evaluation_of([[48, 2, 0, 0], [0, 44, 6, 0], [0, 0, 45, 5], [0, 0, 0, 50]])
    candidate = evaluation_of([[42, 8, 0, 0], [0, 46, 4, 0], [0, 0, 48, 2], [0, 0, 0, 50]])
    failed = _only_failure(judge(candidate, RULES, champion, pair=paired(candidate, champion)))
    assert failed.name == "recall_change_glioma"
    assert (
        failed.reason == "recall of glioma 0.840 against the champion's 0.960: a loss of 0.12, above the allowed 0.10"
    )


def test_different_images_of_the_same_counts_are_refused(good: Evaluation) -> None:
    pair = paired(good, good)
    others = {f"other {name}": prediction for name, prediction in pair.champion.items()}
    failed = _only_failure(judge(good, RULES, good, pair=replace(pair, champion=others)))
    assert failed.name == "same_test_images"
    assert failed.reason.startswith(
        "not the same test images: 200 images only the candidate predicted, 200 images only the champion predicted; "
        "evaluate the champion again"
    )


def test_metrics_without_matching_predictions_are_refused(good: Evaluation) -> None:
    assert "was not kept" in _only_failure(judge(good, RULES, good)).reason
    fewer = replace(good, count=199)
    failed = _only_failure(judge(good, RULES, fewer, pair=paired(good, good)))
    assert failed.reason == "evaluations of 200 and 199 images, but 200 predictions: evaluate both again"


def test_a_failed_artifact_check_refuses_the_candidate(good: Evaluation) -> None:
    broken = RuleOutcome(name="artifact_whole", passed=False, bound=0, value=1, reason="model.bin is gone")
    verdict = judge(good, RULES, checks=[broken])
    assert verdict.summary.startswith("Refused: 1 of 11 rules failed (artifact_whole)")
    assert "| artifact_whole | **FAILED** | 1 | 0 | model.bin is gone |" in verdict.to_markdown()


def test_metrics_that_are_not_numbers_are_refused(good: Evaluation) -> None:
    verdict = judge(replace(good, accuracy=math.nan, log_loss=math.inf), RULES)
    assert [rule.name for rule in verdict.failed] == ["finite_figures", "accuracy"]
    assert verdict.failed[0].reason.startswith("not a finite number: accuracy, log_loss;")
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_class_metric_that_is_not_a_number_is_refused(good: Evaluation) -> None:
    broken = replace(good.of(TumorClass.NORMAL), recall=math.nan)
    candidate = replace(good, per_class=(*good.per_class[:2], broken, good.per_class[3]))
    pair = paired(good, good)
    failed = {rule.name: rule.reason for rule in judge(candidate, RULES, good, pair=pair).failed}
    assert set(failed) == {"finite_figures", "sensitivity_normal", "recall_change_normal"}
    assert "recall of normal" in failed["finite_figures"]
    champions = {rule.name: rule.reason for rule in judge(good, RULES, candidate, pair=pair).failed}
    assert champions == {"recall_change_normal": "the champion's recall of normal is not a finite number"}


def test_a_calibration_error_that_is_not_a_number_is_refused(good: Evaluation) -> None:
    verdict = judge(replace(good, expected_calibration_error=math.nan), RULES)
    assert [rule.name for rule in verdict.failed] == ["finite_figures", "calibration_error"]


def test_a_validation_evaluation_is_not_judged(good: Evaluation) -> None:
    validation = replace(good, split="validation")
    with pytest.raises(EvaluationError, match="'validation'"):
        judge(validation, RULES)
    with pytest.raises(EvaluationError, match="'validation'"):
        judge(good, RULES, champion=validation)


def test_a_reason_has_enough_digits_to_show_the_difference(good: Evaluation) -> None:
    failed = _only_failure(judge(replace(good, accuracy=0.7996), RULES))
    assert "0.7996 is below the minimum 0.8000" in failed.reason


def test_a_verdict_is_kept_by_json_and_shown_as_a_table(good: Evaluation) -> None:
    verdict = judge(good, RULES.model_copy(update={"minimum_accuracy": 0.95}), champion=good, pair=paired(good, good))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    lines = verdict.to_markdown().splitlines()
    assert lines[0].startswith("**Refused: 1 of 17 rules failed (accuracy)")
    assert lines[2:4] == ["| rule | outcome | value | bound | reason |", "|---|---|---:|---:|---|"]
    assert any(line.startswith("| accuracy | **FAILED** | 0.915 | 0.95 |") for line in lines)
    assert len(lines) == 4 + 17


def test_a_verdict_keeps_the_memory_of_the_test_split(good: Evaluation) -> None:
    memory = SplitMemory(
        count_judged=41, count_year=12, reference="first", not_assessed=("the optimism, because of no champion",)
    )
    verdict = replace(judge(good, RULES), memory=memory)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    sentences = (
        "The gate has judged 41 candidates on this test split, 12 in the last 365 days. The reference model is first. "
        "Not assessed: the optimism, because of no champion."
    )
    assert verdict.to_markdown().splitlines()[2] == sentences


def test_without_a_path_the_packaged_rules_are_read() -> None:
    assert (RULES.version, RULES.noninferiority_margin, RULES.significance) == (3, 0.05, 0.05)


def _write(folder: Path, **changes: object) -> Path:
    values = RULES.model_dump() | changes
    path = folder / "rules.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in values.items() if value is not None))
    return path


def test_another_rule_file_is_read(tmp_path: Path) -> None:
    assert GateRules.load(str(_write(tmp_path, version=7, minimum_accuracy=0.9))).version == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minimum_acuracy": 0.9}, ["unknown key 'minimum_acuracy'", "Allowed: version", "0.9", "spelling"]),
        ({"maximum_accuracy_loss": 0.02}, ["unknown key 'maximum_accuracy_loss'", "noninferiority_margin"]),
        ({"minimum_accuracy": None}, ["missing key 'minimum_accuracy'", "Required: version", "Add it"]),
        ({"minimum_accuracy": 1.5}, ["minimum_accuracy must be a number from 0 to 1", "Received: 1.5", "Correct"]),
        ({"minimum_accuracy": "nan"}, ["minimum_accuracy must be", "Received: nan"]),
        ({"minimum_accuracy": "true"}, ["minimum_accuracy must be", "Received: True"]),
        ({"noninferiority_margin": -0.1}, ["noninferiority_margin must be", "Received: -0.1"]),
        ({"significance": '"0.1"'}, ["significance must be", "Received: '0.1'"]),
        ({"minimum_images_per_class": 2.5}, ["minimum_images_per_class must be a whole number, 1 or more", "2.5"]),
        ({"yearly_error": 0}, ["yearly_error must be a number above 0", "Received: 0"]),
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
