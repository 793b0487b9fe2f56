from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, classification_report

from braintumor.errors import EvaluationError
from braintumor.evaluation.metrics.calibration import calibration_bins, expected_calibration_error
from braintumor.evaluation.metrics.classification import Evaluation, evaluate, wilson_interval
from braintumor.labels import TumorClass

# truth: g g g | m m | n n n | p p, each prediction with confidence 0.7
TRUTH = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
PREDICTED = np.array([0, 0, 1, 1, 2, 2, 2, 0, 3, 3])


def _probabilities(predicted: np.ndarray, confidence: float = 0.7) -> np.ndarray:
    chances = np.full((len(predicted), 4), (1 - confidence) / 3)
    chances[np.arange(len(predicted)), predicted] = confidence
    return chances


@pytest.fixture
def small() -> Evaluation:
    return evaluate(labels=TRUTH, probabilities=_probabilities(PREDICTED), split="test")


def test_rows_of_the_confusion_matrix_are_true_classes(small: Evaluation) -> None:
    assert small.confusion == ((2, 1, 0, 0), (0, 1, 1, 0), (1, 0, 2, 0), (0, 0, 0, 2))


def test_metrics_match_values_computed_by_hand(small: Evaluation) -> None:
    glioma = small.of(TumorClass.GLIOMA)
    assert (small.count, small.accuracy) == (10, 0.7)
    assert glioma.precision == pytest.approx(2 / 3)  # 2 of 3 predicted as glioma
    assert glioma.recall == pytest.approx(2 / 3)
    assert glioma.specificity == pytest.approx(6 / 7)  # 1 of 7 others predicted as glioma
    assert glioma.f1 == pytest.approx(2 / 3)
    assert [m.support for m in small.per_class] == [3, 2, 3, 2]
    assert small.macro_recall == pytest.approx((2 / 3 + 1 / 2 + 2 / 3 + 1) / 4)
    assert small.log_loss == pytest.approx(-(7 * math.log(0.7) + 3 * math.log(0.1)) / 10)


def test_a_tumor_predicted_as_another_tumor_counts_as_detected(small: Evaluation) -> None:
    assert small.tumor_sensitivity == pytest.approx(6 / 7)  # one meningioma predicted as normal


def test_macro_metrics_agree_with_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    labels, chances = predictions
    ours = evaluate(labels=labels, probabilities=chances, split="test")
    theirs = classification_report(labels, chances.argmax(axis=1), output_dict=True)
    assert ours.macro_precision == pytest.approx(theirs["macro avg"]["precision"])
    assert ours.macro_f1 == pytest.approx(theirs["macro avg"]["f1-score"])
    assert ours.macro_recall == pytest.approx(balanced_accuracy_score(labels, chances.argmax(axis=1)))


def test_auroc_is_the_share_of_correctly_ranked_pairs() -> None:
    chances = np.array([[0.9, 0.1, 0, 0], [0.4, 0.6, 0, 0], [0.5, 0.5, 0, 0], [0.1, 0.9, 0, 0]])
    result = evaluate(labels=np.array([0, 0, 1, 1]), probabilities=chances, split="test")
    assert result.of(TumorClass.GLIOMA).auroc == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_interval_matches_published_values(hits: int, count: int, low: float, high: float) -> None:
    # 81 of 263 is the worked example of Newcombe, Statistics in Medicine 1998.
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_always_contains_the_share() -> None:
    for count in range(1, 80):
        for hits in range(count + 1):
            low, high = wilson_interval(hits, count)
            assert 0 <= low <= hits / count <= high <= 1


@pytest.mark.parametrize(("hits", "count"), [(3, 2), (-1, 5), (0, 0)])
def test_wilson_interval_refuses_impossible_counts(hits: int, count: int) -> None:
    with pytest.raises(EvaluationError, match=f"{hits} of {count}"):
        wilson_interval(hits, count)


def test_calibration_error_matches_a_value_computed_by_hand() -> None:
    # confidence 0.9 three times, two correct, and 0.5 once, correct: (3 * |2/3 - 0.9| + 1 * |1 - 0.5|) / 4 = 0.3
    chances = np.vstack([_probabilities(np.array([0, 1, 2]), 0.9), _probabilities(np.array([3]), 0.5)])
    result = evaluate(labels=np.array([0, 1, 3, 3]), probabilities=chances, split="test")
    assert result.expected_calibration_error == pytest.approx(0.3)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin() -> None:
    certain, half = np.array([[1.0, 0, 0, 0]]), np.array([[0.5, 0.3, 0.1, 0.1]])
    assert calibration_bins(np.array([0]), certain)[0].high == 1.0
    assert calibration_bins(np.array([0]), half, bins=4)[0].high == 0.5


def test_a_calibrated_model_has_no_calibration_error() -> None:
    bins = calibration_bins(np.array([0] * 7 + [1] * 3), _probabilities(np.zeros(10, dtype=int)))
    assert expected_calibration_error(bins) == pytest.approx(0, abs=1e-12)


def test_an_absent_class_is_undefined_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(
            labels=np.array([0, 1, 2]), probabilities=_probabilities(np.array([0, 1, 1])), split="validation"
        )
    absent = result.of(TumorClass.PITUITARY)
    assert (absent.precision, absent.recall, absent.f1, absent.auroc) == (None, None, None, None)
    assert (absent.support, absent.specificity) == (0, 1.0)
    assert result.macro_recall == pytest.approx(2 / 3)


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    result = evaluate(labels=TRUTH, probabilities=_probabilities(np.zeros(10, dtype=int)), split="test")
    normal = result.of(TumorClass.NORMAL)
    assert (normal.precision, normal.recall, normal.f1) == (0.0, 0.0, 0.0)


def test_a_split_without_tumors_has_no_tumor_sensitivity() -> None:
    result = evaluate(labels=np.array([2, 2]), probabilities=_probabilities(np.array([2, 2])), split="test")
    assert result.tumor_sensitivity is None
    assert result.of(TumorClass.NORMAL).specificity is None


def test_float16_probabilities_are_accepted() -> None:
    chances = _probabilities(PREDICTED).astype(np.float16)
    assert evaluate(labels=TRUTH, probabilities=chances, split="test").accuracy == 0.7


@pytest.mark.parametrize(
    ("labels", "chances", "words"),
    [
        (np.array([[0]]), np.ones((1, 4)) / 4, r"labels must be .* shape \(N,\)"),
        (np.array([], dtype=int), np.ones((0, 4)), "N of 1 or more"),
        (np.array([0.5]), np.ones((1, 4)) / 4, "whole-number"),
        (np.array([4]), np.ones((1, 4)) / 4, r"Received: \[4\]"),
        (np.array([-1]), np.ones((1, 4)) / 4, r"Received: \[-1\]"),
        (np.array([0]), np.ones((1, 3)) / 3, r"shape \(1, 4\).* Received: .*\(1, 3\)"),
        (np.array([0, 1]), np.ones((1, 4)) / 4, r"shape \(2, 4\)"),
        (np.array([0]), np.array([[1, 0, 0, 0]]), "floating-point"),
        (np.array([0]), np.array([[np.nan, 0.5, 0.5, 0]]), "finite.*row 0"),
        (np.array([0, 0]), np.array([[1.0, 0, 0, 0], [np.inf, 0, 0, 0]]), "finite.*row 1"),
        (np.array([0]), np.array([[3.0, -1.0, -1.0, 0]]), "0 or more and sum to 1"),
        (np.array([0]), np.array([[0.5, 0.5, 0.5, 0.5]]), "not logits"),
    ],
)
def test_invalid_input_is_refused_with_the_received_value(labels: np.ndarray, chances: np.ndarray, words: str) -> None:
    with pytest.raises(EvaluationError, match=f"(?s){words}"):
        evaluate(labels=labels, probabilities=chances, split="test")


def test_a_confusion_matrix_of_another_size_is_refused(small: Evaluation) -> None:
    with pytest.raises(EvaluationError, match="4 x 4"):
        replace(small, confusion=((1, 0), (0, 1)))
