"""Tests of the comparison with the reference model and of the budget of a test split."""

from __future__ import annotations

import pytest

from braintumor.evaluation.gate.reference import budget_rule, compare_with_reference, is_better, reference_rules
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.significance import ImagePrediction, PredictionPair, paired_test
from braintumor.labels import CLASSES

RULES = GateRules.load()


def pair(*, lost: int, gained: int, count: int = 430) -> PredictionPair:
    """Return the predictions of two models for images that are groups of their own."""

    def predictions(wrong: range) -> dict[str, ImagePrediction]:
        return {
            str(i): ImagePrediction(label=CLASSES[0], predicted=CLASSES[i in wrong], group_key=str(i))
            for i in range(count)
        }

    return PredictionPair(candidate=predictions(range(lost)), champion=predictions(range(count - gained, count)))


def test_a_year_of_candidates_shares_the_error() -> None:
    assert RULES.reference_confidence == pytest.approx(1 - RULES.yearly_error / RULES.candidates_per_year)
    errors = RULES.candidates_per_year * (1 - RULES.reference_confidence)
    assert errors == pytest.approx(RULES.yearly_error)


def test_the_reference_interval_is_wider_than_the_champions() -> None:
    both = pair(lost=14, gained=12)
    assert compare_with_reference(both, RULES).low < paired_test(both).low < 0


def test_an_equal_candidate_passes_the_reference_rules() -> None:
    margin, mcnemar = reference_rules(compare_with_reference(pair(lost=13, gained=13), RULES), RULES, reference="old")
    assert margin.passed and mcnemar.passed and margin.bound == -RULES.reference_margin
    assert margin.reason.startswith("against the reference model old 13 images gained and 13 lost of 430")
    assert (margin.name, mcnemar.name) == ("reference_noninferior", "reference_mcnemar")


def test_a_possible_loss_beyond_the_margin_is_refused() -> None:
    """A loss of 7 of 430 images is not significant, but with 50 differing images a loss of 0.06 is not excluded."""
    margin, mcnemar = reference_rules(compare_with_reference(pair(lost=28, gained=21), RULES), RULES, reference="old")
    assert (margin.passed, mcnemar.passed) == (False, True)
    assert "is below the margin -0.0600" in margin.reason


def test_a_significant_loss_within_the_margin_is_refused() -> None:
    margin, mcnemar = reference_rules(compare_with_reference(pair(lost=8, gained=1), RULES), RULES, reference="old")
    assert (margin.passed, mcnemar.passed) == (True, False)
    assert "the reference has 8" in mcnemar.reason


def test_only_a_clear_gain_makes_a_champion_the_reference() -> None:
    assert not is_better(compare_with_reference(pair(lost=8, gained=20), RULES), RULES)
    assert not is_better(compare_with_reference(pair(lost=0, gained=8), RULES), RULES), "McNemar: p = 0.004"
    assert is_better(compare_with_reference(pair(lost=4, gained=30), RULES), RULES)


def test_a_candidate_beyond_the_budget_is_refused() -> None:
    limit = RULES.candidates_per_year
    assert budget_rule(limit, RULES).passed
    outcome = budget_rule(limit + 1, RULES)
    assert not outcome.passed and (outcome.value, outcome.bound) == (limit + 1, limit)
    assert "label new test images" in outcome.reason
