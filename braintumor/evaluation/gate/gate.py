"""Judge a candidate by the gate rules, with a reason for every rule.

>>> verdict = judge(candidate, GateRules.load(), champion, pair=pair, checks=checks)
>>> print(verdict.to_markdown())
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from braintumor.errors import EvaluationError
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.gate.split_memory import SplitMemory
from braintumor.evaluation.metrics.classification import Evaluation
from braintumor.evaluation.metrics.significance import (
    RESAMPLES,
    PairedTest,
    PredictionPair,
    difference_of_images,
    paired_test,
)
from braintumor.labels import CLASSES, TUMORS, TumorClass
from braintumor.markdown import escaped, table

DIFFERS_FROM_CHAMPION = "differs_from_champion"
"""Name of the rule that refuses a candidate whose files are identical to the champion's files."""
ROUNDING = 1e-9
"""Tolerance for binary fractions: 0.92 - 0.90 is slightly above 0.02, and must pass a bound of 0.02."""


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """Hold the outcome of one rule.

    Attributes:
        name: such as ``accuracy`` or ``sensitivity_glioma``.
        passed: whether the candidate passes the rule.
        bound: the limit from the rule file, or from the comparison with the champion.
        value: the candidate's value, ``None`` if it is undefined.
        reason: one sentence for people.
    """

    name: str
    passed: bool
    bound: float
    value: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Hold the decision whether a candidate may be promoted, and the outcome of every rule.

    Attributes:
        passed: whether all rules hold.
        rules_version: version of the rule file.
        rules: the outcome of every rule and check.
        summary: one sentence for people.
        memory: the reference model and the numbers of candidates judged on the test split, ``None`` if not loaded.
    """

    passed: bool
    rules_version: int
    rules: tuple[RuleOutcome, ...]
    summary: str
    memory: SplitMemory | None = None

    @property
    def failed(self) -> tuple[RuleOutcome, ...]:
        """Return the failed rules."""
        return tuple(rule for rule in self.rules if not rule.passed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"rules": [asdict(rule) for rule in self.rules]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a verdict from the values of ``to_dict``."""
        memory = values.get("memory")
        return cls(
            **{
                **values,
                "rules": tuple(RuleOutcome(**rule) for rule in values["rules"]),
                "memory": memory and SplitMemory(**{**memory, "not_assessed": tuple(memory["not_assessed"])}),
            }
        )

    def to_markdown(self) -> str:
        """Return the verdict as Markdown, with one table row per rule, the failed rules first.

        The summary and the facts about the test split (``memory``) precede the table.
        """
        outcomes = table(
            ["rule", "outcome", "value", "bound", "reason"],
            [
                [rule.name, "passed" if rule.passed else "**FAILED**", _cell(rule.value), _cell(rule.bound),
                 escaped(rule.reason)]
                for rule in sorted(self.rules, key=lambda rule: rule.passed)
            ],
            right=["value", "bound"],
        )  # fmt: skip
        memory = "" if self.memory is None else escaped(" ".join(self.memory.sentences)) + "\n\n"
        return f"**{self.summary}** (gate rules version {self.rules_version})\n\n{memory}{outcomes}"


def judge(
    candidate: Evaluation,
    rules: GateRules,
    champion: Evaluation | None = None,
    *,
    pair: PredictionPair | None = None,
    checks: Sequence[RuleOutcome] = (),
    without_champion: str = "no champion",
) -> Verdict:
    """Return the verdict on a candidate, from its evaluation on the test split.

    The candidate passes if all rules hold. If there is no champion, the rules that compare with the champion do not
    apply, and the summary contains ``without_champion``. A value that is not a finite number fails every rule that uses
    the value, and the rule ``finite_figures``.

    Args:
        candidate: the candidate's evaluation.
        rules: the gate rules with their bounds.
        champion: the champion's evaluation on the same images.
        pair: the predictions of both models, which prove that the images are the same. Without ``pair`` the rule
            ``same_test_images`` fails.
        checks: outcomes of the artifact and leak checks, which are added to the rules.
        without_champion: the reason why there is no comparison with a champion.

    Raises:
        EvaluationError: an evaluation is not of the test split.
    """
    for evaluation in (candidate, champion):
        if evaluation is not None and evaluation.split != "test":
            raise EvaluationError(
                f"The gate judges the split 'test' only. Received: {evaluation.split!r}. Evaluate the model on test."
            )
    outcomes = [*checks, _all_numbers(candidate), *_absolute_rules(candidate, rules)]
    if champion is not None:
        outcomes += _change_rules(candidate, champion, pair, rules)
    passed = all(outcome.passed for outcome in outcomes)
    return Verdict(
        passed=passed,
        rules_version=rules.version,
        rules=tuple(outcomes),
        summary=_summary(outcomes, without_champion=None if champion else without_champion),
    )


def _absolute_rules(candidate: Evaluation, rules: GateRules) -> Iterator[RuleOutcome]:
    hits = sum(candidate.confusion[i][i] for i in range(len(CLASSES)))
    detail = f"{hits} of {candidate.count}"
    yield _minimum("accuracy", "accuracy", candidate.accuracy, rules.minimum_accuracy, detail)
    yield _minimum("macro_recall", "macro recall", candidate.macro_recall, rules.minimum_macro_recall)
    for label in CLASSES:
        yield _sensitivity_rule(candidate, label, rules.minimum_class_sensitivity)
    yield _tumor_rule(candidate, rules.minimum_tumor_sensitivity)
    yield _calibration_rule(candidate, rules.maximum_calibration_error)
    yield _images_rule(candidate, rules.minimum_images_per_class)


def _change_rules(
    candidate: Evaluation, champion: Evaluation, pair: PredictionPair | None, rules: GateRules
) -> Iterator[RuleOutcome]:
    """Yield the outcomes of the rules that compare the candidate with the champion.

    If ``same_test_images`` fails, yield only its outcome, because metrics of different images cannot be compared.
    """
    same = _same_images(candidate, champion, pair)
    yield same
    if pair is None or not same.passed:
        return
    comparison = paired_test(pair)
    yield noninferiority_rule(comparison, rules.noninferiority_margin)
    yield mcnemar_rule(comparison, rules.significance)
    for label in CLASSES:
        yield _loss(
            f"recall_change_{label}",
            f"recall of {label}",
            candidate.of(label).recall,
            champion.of(label).recall,
            bound=rules.maximum_class_recall_loss,
        )


def _all_numbers(candidate: Evaluation) -> RuleOutcome:
    values = _numbers(candidate)
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    reason = f"all {len(values)} metrics are finite numbers"
    if broken:
        reason = f"not a finite number: {', '.join(broken)}; the model or its evaluation is broken"
    return RuleOutcome(name="finite_figures", passed=not broken, bound=0, value=len(broken), reason=reason)


def _numbers(evaluation: Evaluation) -> dict[str, float]:
    values = {f.name: getattr(evaluation, f.name) for f in fields(evaluation)}
    for metrics in evaluation.per_class:
        values |= {f"{f.name} of {metrics.label}": getattr(metrics, f.name) for f in fields(metrics)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def _sensitivity_rule(candidate: Evaluation, label: TumorClass, bound: float) -> RuleOutcome:
    row = candidate.confusion[label.position]
    detail = f"{row[label.position]} of {sum(row)}"
    return _minimum(f"sensitivity_{label}", f"recall of {label}", candidate.of(label).recall, bound, detail)


def _tumor_rule(candidate: Evaluation, bound: float) -> RuleOutcome:
    rows = [candidate.confusion[label.position] for label in TUMORS]
    hits = sum(row[label.position] for row in rows for label in TUMORS)
    detail = f"{hits} of {sum(map(sum, rows))} tumors predicted as a tumor"
    return _minimum("tumor_sensitivity", "tumor sensitivity", candidate.tumor_sensitivity, bound, detail)


def _calibration_rule(candidate: Evaluation, bound: float) -> RuleOutcome:
    value = candidate.expected_calibration_error
    if not math.isfinite(value):
        return _outcome("calibration_error", f"calibration error is {_missing(value)}", None, bound, passed=False)
    passed = value <= bound + ROUNDING
    shown, limit = _distinct(value, bound)
    verb = "stays within" if passed else "is above"
    return _outcome("calibration_error", f"expected calibration error {shown} {verb} {limit}", value, bound, passed)


def _images_rule(candidate: Evaluation, bound: int) -> RuleOutcome:
    rarest = min(candidate.per_class, key=lambda metrics: metrics.support)
    passed = rarest.support >= bound
    verb = "at least" if passed else "fewer than"
    reason = f"the rarest class, {rarest.label}, has {rarest.support} test images, {verb} {bound}"
    return _outcome("images_per_class", reason, rarest.support, bound, passed)


def _same_images(candidate: Evaluation, champion: Evaluation, pair: PredictionPair | None) -> RuleOutcome:
    """Return the outcome of the rule that both models were evaluated on the same images, by count, sha256 and label."""
    name, ours, theirs = "same_test_images", candidate.count, champion.count
    if pair is None:
        return _outcome(
            name, "the prediction of each test image was not kept: evaluate both again", ours, theirs, False
        )
    difference = difference_of_images(pair)
    if difference:
        reason = f"not the same test images: {difference}; evaluate the champion again on this test split first"
        return _outcome(name, reason, ours, theirs, False)
    if not ours == theirs == len(pair.candidate):
        reason = (
            f"evaluations of {ours} and {theirs} images, but {len(pair.candidate)} predictions: evaluate both again"
        )
        return _outcome(name, reason, ours, theirs, False)
    reason = f"candidate and champion have predictions of the same {ours} test images, with the same sha256 and label"
    return _outcome(name, reason, ours, theirs, True)


def noninferiority_rule(comparison: PairedTest, margin: float) -> RuleOutcome:
    """Return the outcome of the rule that limits the candidate's loss of accuracy against the champion.

    The rule passes if the lower end of the confidence interval of the change is ``-margin`` or more.

    Args:
        comparison: the paired test against the champion.
        margin: largest allowed loss of accuracy, as a share.
    """
    passed = comparison.low >= -margin - ROUNDING
    low, limit = _distinct(comparison.low, -margin)
    verb = "reaches" if passed else "is below"
    reason = (
        f"{comparison.gained} images gained and {comparison.lost} lost of {comparison.count}, a change of accuracy of "
        f"{comparison.change:+.3f}; with 95% confidence no worse than {low}, which {verb} the margin {limit} (paired "
        f"bootstrap, {RESAMPLES:,} resamples of {comparison.count_group} groups, and an exact bound; at best "
        f"{comparison.high:+.3f})"
    )
    return _outcome("accuracy_noninferior", reason, comparison.low, -margin, passed)


def mcnemar_rule(comparison: PairedTest, significance: float, *, other: str = "champion") -> RuleOutcome:
    """Return the outcome of McNemar's test, which fails if the candidate is significantly worse than the other model.

    Args:
        comparison: the paired test against the other model.
        significance: smallest allowed p value.
        other: the role of the other model, ``champion`` or ``reference``.
    """
    passed = comparison.p_worse >= significance - ROUNDING
    shown, limit = _distinct(comparison.p_worse, significance)
    differing = comparison.lost + comparison.gained
    reason = (
        f"of {differing} images that only one of the two gets right the {other} has {comparison.lost}: chance alone "
        f"gives it as many with p = {shown}, "
        + (f"not below {limit}: not significantly worse" if passed else f"below {limit}: significantly worse")
    )
    name = "mcnemar" if other == "champion" else f"{other}_mcnemar"
    return _outcome(name, f"{reason} (McNemar, exact, one-sided)", comparison.p_worse, significance, passed)


def _minimum(name: str, words: str, value: float | None, bound: float, detail: str = "") -> RuleOutcome:
    if value is None or not math.isfinite(value):
        return _outcome(name, f"{words} is {_missing(value)}", None, bound, passed=False)
    passed = value >= bound - ROUNDING
    shown, limit = _distinct(value, bound)
    verb = "reaches" if passed else "is below"
    return _outcome(
        name, f"{words} {shown} {verb} the minimum {limit}{detail and f' ({detail})'}", value, bound, passed
    )


def _loss(name: str, words: str, ours: float | None, theirs: float | None, *, bound: float) -> RuleOutcome:
    """Return the outcome of a rule that limits the loss of a metric against the champion.

    The value of the outcome is ``ours`` minus ``theirs``.

    Args:
        name: name of the rule.
        words: name of the metric, for the reason.
        ours: the candidate's metric.
        theirs: the champion's metric.
        bound: largest allowed loss.
    """
    if ours is None or not math.isfinite(ours):
        return _outcome(name, f"{words} is {_missing(ours)}", None, -bound, passed=False)
    if theirs is None or not math.isfinite(theirs):
        return _outcome(name, f"the champion's {words} is {_missing(theirs)}", None, -bound, passed=False)
    change = ours - theirs
    passed = change >= -bound - ROUNDING
    size, limit = _distinct(abs(change), bound)
    moved = f"a gain of {size}" if change > 0 else "no change" if change == 0 else f"a loss of {size}"
    verb = "within" if passed else "above"
    reason = f"{words} {ours:.3f} against the champion's {theirs:.3f}: {moved}, {verb} the allowed {limit}"
    return _outcome(name, reason, change, -bound, passed)


def _outcome(name: str, reason: str, value: float | None, bound: float, passed: bool) -> RuleOutcome:
    number = value if value is not None and math.isfinite(value) else None
    return RuleOutcome(name=name, passed=passed, bound=bound, value=number, reason=reason)


def _missing(value: float | None) -> str:
    return "undefined: the test split has no such images" if value is None else "not a finite number"


def _distinct(value: float, bound: float) -> tuple[str, str]:
    """Format two numbers with the fewest decimals, two to six, that show which number is larger."""
    for digits in range(2, 7):
        shown, limit = f"{value:.{digits}f}", f"{bound:.{digits}f}"
        if shown != limit or abs(value - bound) <= ROUNDING:
            break
    return shown, limit


def _summary(outcomes: list[RuleOutcome], *, without_champion: str | None) -> str:
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    alone = f"{without_champion}: absolute rules alone decide"
    against = "compared with the champion" if without_champion is None else alone
    if DIFFERS_FROM_CHAMPION in failed:
        against = "identical to the champion"
    if failed:
        return f"Refused: {len(failed)} of {len(outcomes)} rules failed ({', '.join(failed)}); {against}"
    return f"Passed: all {len(outcomes)} rules hold; {against}"


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"
