"""The written rules that a candidate must pass, and its verdict with a reason for every rule.

>>> verdict = judge(candidate, GateRules.load(None), champion)
>>> print(verdict.to_markdown())
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from braintumor.errors import EvaluationError, GateRulesError
from braintumor.evaluation.metrics import Evaluation
from braintumor.labels import CLASSES, TUMORS, TumorClass
from braintumor.rulefile import read_rules, require_keys

_PACKAGED = Path(__file__).with_name("gate.toml")
_ROUNDING = 1e-9
"""A loss of 0.92 - 0.90 is not above a bound of 0.02 because of binary fractions."""


@dataclass(frozen=True, kw_only=True)
class GateRules:
    """The bounds of one rule file; its comments say what each means.

    Attributes:
        version: raised whenever a value changes.
        minimum_accuracy: 0 to 1.
        minimum_macro_recall: 0 to 1.
        minimum_class_sensitivity: 0 to 1, of each class.
        minimum_tumor_sensitivity: 0 to 1, any tumour called any tumour.
        maximum_calibration_error: 0 to 1.
        minimum_images_per_class: number of test images, 1 or more.
        maximum_accuracy_loss: 0 to 1, against the champion.
        maximum_class_recall_loss: 0 to 1, of each class against the champion.
    """

    version: int
    minimum_accuracy: float
    minimum_macro_recall: float
    minimum_class_sensitivity: float
    minimum_tumor_sensitivity: float
    maximum_calibration_error: float
    minimum_images_per_class: int
    maximum_accuracy_loss: float
    maximum_class_recall_loss: float

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a rule file; ``None`` means the packaged one.

        Raises:
            GateRulesError: the file is missing or not TOML, or a key is missing, unknown or out of range.
        """
        source = _PACKAGED if path is None else Path(path)
        values = read_rules(source, name="The gate's", variable="BRAINTUMOR_GATE_RULES", error=GateRulesError)
        return cls.from_values(values, source=str(source))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, source: str = "given values") -> Self:
        """Build from plain values, all of them checked.

        Raises:
            GateRulesError: a key is missing, unknown or out of range.
        """
        known = [f.name for f in fields(cls)]
        why = "leaving a rule out never weakens the gate"
        require_keys(values, known, where=f"Gate rules ({source})", why=why, error=GateRulesError)
        for key in known:
            _check_range(key, values[key], source)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RuleOutcome:
    """What one rule said.

    Attributes:
        name: such as ``accuracy`` or ``sensitivity_glioma``.
        passed: whether it holds.
        bound: what the rule file or the champion sets.
        value: what the candidate reached; ``None`` where there is no such number.
        reason: one sentence for people.
    """

    name: str
    passed: bool
    bound: float
    value: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a candidate may be promoted, and why."""

    passed: bool
    rules_version: int
    rules: tuple[RuleOutcome, ...]
    summary: str

    @property
    def failed(self) -> tuple[RuleOutcome, ...]:
        """The rules that do not hold."""
        return tuple(rule for rule in self.rules if not rule.passed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"rules": [asdict(rule) for rule in self.rules]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` wrote."""
        return cls(**{**values, "rules": tuple(RuleOutcome(**rule) for rule in values["rules"])})

    def to_markdown(self) -> str:
        """The summary, then one table row per rule."""
        rows = [
            f"| {rule.name} | {'passed' if rule.passed else '**FAILED**'} | {_cell(rule.value)} | {_cell(rule.bound)} "
            f"| {rule.reason} |"
            for rule in self.rules
        ]
        head = ["| rule | outcome | value | bound | reason |", "|---|---|---:|---:|---|"]
        return "\n".join([f"**{self.summary}** (gate rules version {self.rules_version})", "", *head, *rows, ""])


def judge(
    candidate: Evaluation,
    rules: GateRules,
    champion: Evaluation | None = None,
    *,
    without_champion: str = "no champion",
) -> Verdict:
    """Pass or refuse a candidate on the test split.

    The change rules are judged only where there is a champion, which must be evaluated on the same images; else the
    verdict says why not, in the words of ``without_champion``.
    A figure that is not a number fails every rule that reads it, and a rule of its own.

    Raises:
        EvaluationError: an evaluation is not of the test split.
    """
    for evaluation in (candidate, champion):
        if evaluation is not None and evaluation.split != "test":
            raise EvaluationError(
                f"The gate judges the split 'test' only. Received: {evaluation.split!r}. Evaluate the model on test."
            )
    outcomes = [_all_numbers(candidate), *_absolute_rules(candidate, rules)]
    if champion is not None:
        outcomes += _change_rules(candidate, champion, rules)
    passed = all(outcome.passed for outcome in outcomes)
    return Verdict(
        passed=passed,
        rules_version=rules.version,
        rules=tuple(outcomes),
        summary=_summary(outcomes, without_champion=None if champion else without_champion),
    )


def _absolute_rules(candidate: Evaluation, rules: GateRules) -> Iterator[RuleOutcome]:
    yield _floor("accuracy", "accuracy", candidate.accuracy, rules.minimum_accuracy, _hits(candidate))
    yield _floor("macro_recall", "macro recall", candidate.macro_recall, rules.minimum_macro_recall)
    for label in CLASSES:
        yield _sensitivity_rule(candidate, label, rules.minimum_class_sensitivity)
    yield _tumor_rule(candidate, rules.minimum_tumor_sensitivity)
    yield _calibration_rule(candidate, rules.maximum_calibration_error)
    yield _images_rule(candidate, rules.minimum_images_per_class)


def _change_rules(candidate: Evaluation, champion: Evaluation, rules: GateRules) -> Iterator[RuleOutcome]:
    yield _same_images(candidate, champion)
    yield _loss("accuracy_change", "accuracy", candidate.accuracy, champion.accuracy, bound=rules.maximum_accuracy_loss)
    for label in CLASSES:
        yield _loss(
            f"recall_change_{label}",
            f"recall of {label}",
            candidate.of(label).recall,
            champion.of(label).recall,
            bound=rules.maximum_class_recall_loss,
        )


def _all_numbers(candidate: Evaluation) -> RuleOutcome:
    figures = _figures(candidate)
    broken = [name for name, value in figures.items() if not math.isfinite(value)]
    reason = f"all {len(figures)} figures are finite numbers"
    if broken:
        reason = f"not a finite number: {', '.join(broken)}; the model or its evaluation is broken"
    return RuleOutcome(name="finite_figures", passed=not broken, bound=0, value=len(broken), reason=reason)


def _figures(evaluation: Evaluation) -> dict[str, float]:
    found = {f.name: getattr(evaluation, f.name) for f in fields(evaluation)}
    for metrics in evaluation.per_class:
        found |= {f"{f.name} of {metrics.label}": getattr(metrics, f.name) for f in fields(metrics)}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _sensitivity_rule(candidate: Evaluation, label: TumorClass, bound: float) -> RuleOutcome:
    row = candidate.confusion[label.position]
    detail = f"{row[label.position]} of {sum(row)}"
    return _floor(f"sensitivity_{label}", f"recall of {label}", candidate.of(label).recall, bound, detail)


def _tumor_rule(candidate: Evaluation, bound: float) -> RuleOutcome:
    rows = [candidate.confusion[label.position] for label in TUMORS]
    found = sum(row[label.position] for row in rows for label in TUMORS)
    detail = f"{found} of {sum(map(sum, rows))} tumours called a tumour"
    return _floor("tumor_sensitivity", "tumour sensitivity", candidate.tumor_sensitivity, bound, detail)


def _calibration_rule(candidate: Evaluation, bound: float) -> RuleOutcome:
    value = candidate.expected_calibration_error
    if not math.isfinite(value):
        return _outcome("calibration_error", f"calibration error is {_missing(value)}", None, bound, passed=False)
    passed = value <= bound + _ROUNDING
    shown, limit = _apart(value, bound)
    verb = "stays within" if passed else "is above"
    return _outcome("calibration_error", f"expected calibration error {shown} {verb} {limit}", value, bound, passed)


def _images_rule(candidate: Evaluation, bound: int) -> RuleOutcome:
    rarest = min(candidate.per_class, key=lambda metrics: metrics.support)
    passed = rarest.support >= bound
    verb = "at least" if passed else "fewer than"
    reason = f"the rarest class, {rarest.label}, has {rarest.support} test images, {verb} {bound}"
    return _outcome("images_per_class", reason, rarest.support, bound, passed)


def _same_images(candidate: Evaluation, champion: Evaluation) -> RuleOutcome:
    """Counts per class are all that two evaluations tell; equal lists of images are the caller's to prove."""
    ours, theirs = (tuple(metrics.support for metrics in e.per_class) for e in (candidate, champion))
    reason = f"candidate and champion have the same number of test images in each class ({sum(ours)} in all)"
    if ours != theirs:
        reason = (
            f"the champion was evaluated on {sum(theirs)} images {theirs}, the candidate on {sum(ours)} {ours}: "
            "evaluate the champion again on this test split first"
        )
    return _outcome("same_test_images", reason, sum(ours), sum(theirs), ours == theirs)


def _floor(name: str, words: str, value: float | None, bound: float, detail: str = "") -> RuleOutcome:
    if value is None or not math.isfinite(value):
        return _outcome(name, f"{words} is {_missing(value)}", None, bound, passed=False)
    passed = value >= bound - _ROUNDING
    shown, limit = _apart(value, bound)
    verb = "reaches" if passed else "is below"
    return _outcome(name, f"{words} {shown} {verb} the floor {limit}{detail and f' ({detail})'}", value, bound, passed)


def _loss(name: str, words: str, ours: float | None, theirs: float | None, *, bound: float) -> RuleOutcome:
    """A bound on how much lower than the champion's a figure may be; the value is ours minus theirs."""
    if ours is None or not math.isfinite(ours):
        return _outcome(name, f"{words} is {_missing(ours)}", None, -bound, passed=False)
    if theirs is None or not math.isfinite(theirs):
        return _outcome(name, f"the champion's {words} is {_missing(theirs)}", None, -bound, passed=False)
    change = ours - theirs
    passed = change >= -bound - _ROUNDING
    size, limit = _apart(abs(change), bound)
    moved = f"a gain of {size}" if change > 0 else "no change" if change == 0 else f"a loss of {size}"
    verb = "within" if passed else "above"
    reason = f"{words} {ours:.3f} against the champion's {theirs:.3f}: {moved}, {verb} the allowed {limit}"
    return _outcome(name, reason, change, -bound, passed)


def _outcome(name: str, reason: str, value: float | None, bound: float, passed: bool) -> RuleOutcome:
    number = value if value is not None and math.isfinite(value) else None
    return RuleOutcome(name=name, passed=passed, bound=bound, value=number, reason=reason)


def _missing(value: float | None) -> str:
    return "undefined: the test split has no such images" if value is None else "not a finite number"


def _hits(candidate: Evaluation) -> str:
    return f"{sum(candidate.confusion[i][i] for i in range(len(CLASSES)))} of {candidate.count}"


def _apart(value: float, bound: float) -> tuple[str, str]:
    """Both numbers with the fewest digits, two to six, that still show which is the larger."""
    for digits in range(2, 7):
        shown, limit = f"{value:.{digits}f}", f"{bound:.{digits}f}"
        if shown != limit or abs(value - bound) <= _ROUNDING:
            break
    return shown, limit


def _summary(outcomes: list[RuleOutcome], *, without_champion: str | None) -> str:
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    alone = f"{without_champion}: absolute rules alone decide"
    against = "compared with the champion" if without_champion is None else alone
    if failed:
        return f"Refused: {len(failed)} of {len(outcomes)} rules failed ({', '.join(failed)}); {against}"
    return f"Passed: all {len(outcomes)} rules hold; {against}"


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"


def _check_range(key: str, value: object, source: str) -> None:
    whole = key in {"version", "minimum_images_per_class"}
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if number and (value >= 1 if whole else 0 <= value <= 1):  # type: ignore[operator]
        return
    allowed = "a whole number, 1 or more" if whole else "a number from 0 to 1"
    raise GateRulesError(
        f"Gate rules ({source}): {key} must be {allowed}. Received: {value!r}. Correct this line of the file."
    )
