"""Compare a candidate with the reference model, and limit the number of candidates per test split and year.

The gate lets each candidate lose a little accuracy against the champion. Over many promotions, the small losses add up
(Feng, Emerson and Simon, "Approval policies for modifications to machine learning-based software as a medical device",
Biometrics 2021, arXiv 1912.12413). Therefore the gate also compares each candidate with a reference model. The
reference model stays the same until a champion is shown to be more accurate, or until a person names another model.
"""

from __future__ import annotations

from braintumor.evaluation.gate.gate import ROUNDING, RuleOutcome, mcnemar_rule
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.significance import PairedTest, PredictionPair, mcnemar, paired_test, resamples_for


def compare_with_reference(pair: PredictionPair, rules: GateRules) -> PairedTest:
    """Return the paired test of a model against the reference model, with the confidence that the gate rules set.

    Args:
        pair: predictions of both models. The field ``champion`` has those of the reference model.
        rules: the gate rules.
    """
    return paired_test(pair, confidence=rules.reference_confidence)


def is_better(comparison: PairedTest, rules: GateRules) -> bool:
    """Return whether a model is more accurate than the reference model.

    The function requires that the lower end of the confidence interval of the accuracy change is above 0, and that
    McNemar's exact test finds the model better with the same confidence.

    Args:
        comparison: result of ``compare_with_reference``.
        rules: the gate rules.
    """
    p_better = mcnemar(lost=comparison.gained, gained=comparison.lost)
    return comparison.low > 0 and p_better < 1 - rules.reference_confidence


def reference_rules(comparison: PairedTest, rules: GateRules, *, reference: str) -> tuple[RuleOutcome, RuleOutcome]:
    """Return the outcomes of the two rules that compare a candidate with the reference model.

    The rule ``reference_noninferior`` limits the loss of accuracy. The rule ``reference_mcnemar`` is McNemar's test.

    Args:
        comparison: result of ``compare_with_reference``.
        rules: the gate rules with their bounds.
        reference: name of the reference model.
    """
    passed = comparison.low >= -rules.reference_margin - ROUNDING
    confidence = rules.reference_confidence
    reason = (
        f"against the reference model {reference} {comparison.gained} images gained and {comparison.lost} lost of "
        f"{comparison.count}, a change of accuracy of {comparison.change:+.3f}; with {confidence:.2%} confidence no "
        f"worse than {comparison.low:.4f}, which {'reaches' if passed else 'is below'} the margin "
        f"{-rules.reference_margin:.4f} (paired bootstrap, {resamples_for(confidence):,} resamples of "
        f"{comparison.count_group} groups, and an exact bound)"
    )
    margin = RuleOutcome(
        name="reference_noninferior", passed=passed, bound=-rules.reference_margin, value=comparison.low, reason=reason
    )
    return margin, mcnemar_rule(comparison, rules.significance, other="reference")


def budget_rule(count_year: int, rules: GateRules) -> RuleOutcome:
    """Return the outcome of the rule ``test_split_budget``, which limits the candidates per test split and year.

    Args:
        count_year: number of candidates judged on the test split in the last 365 days, including the present one.
        rules: the gate rules with their bounds.
    """
    limit = rules.candidates_per_year
    passed = count_year <= limit
    reason = f"candidate {count_year} of at most {limit} on this test split in 365 days"
    if not passed:
        spent = f"their chances of an error already add up to {rules.yearly_error:.0%}"
        reason += f"; {spent}: label new test images, or retrain less often"
    return RuleOutcome(name="test_split_budget", passed=passed, bound=limit, value=count_year, reason=reason)
