"""Simulate two years of weekly candidates with and without the gate's memory: ``python -m benchmarks.gate_memory``.

The gate's memory is a reference model, with which each candidate is compared too (see docs/decisions/0045). Each
simulated run has one test split of the size of the SARTAJ dataset's. All models share the difficulty of an image, so
their errors are correlated. Two equal models differ on as many images as was measured on SARTAJ (see
docs/decisions/0014). Each image is a group of its own. The rules and bounds are those of the gate. The first champion's
accuracy and the seed are fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from benchmarks.gate_power import SARTAJ, SPREAD
from braintumor.evaluation.gate.gate import mcnemar_rule, noninferiority_rule
from braintumor.evaluation.gate.reference import is_better, reference_rules
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.metrics.optimism import selection_optimism
from braintumor.evaluation.metrics.significance import CONFIDENCE, PairedTest, change_interval, mcnemar

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
Test = Callable[[PairedTest], bool]
Candidates = Callable[[np.random.Generator, Floats], Floats]
"""A function that draws the true accuracy of one week's candidates, from a generator and the champions' true accuracy.

Both accuracies have one value per run. They are relative to the first champion.
"""

_COUNTS = np.array(SARTAJ)
_CLASS = np.repeat(np.arange(len(SARTAJ)), SARTAJ)
_RECALL = np.array((0.88, 0.80, 0.85, 0.90))
"""True recall of each class by the first champion, whose accuracy is 0.86."""
_CEILING = 0.04
"""Largest true gain over the first champion."""
_ESTIMATES = 50
"""Number of runs in which ``selection_optimism`` estimates the optimism."""

SCENARIOS: dict[str, Candidates] = {
    "-4 to +2 points from the first champion": lambda random, champion: _points(random, champion, -4, 2),
    "-4 to +2 points from the champion": lambda random, champion: np.minimum(
        champion + _points(random, champion, -4, 2), _CEILING
    ),
    "-4 to 0 points from the champion": lambda random, champion: champion + _points(random, champion, -4, 0),
}
"""Name -> the draw of the candidates. A point is 0.01 of accuracy.

Each change is a whole number of points, and all changes in the range are equally likely.
"""


def two_better(_: np.random.Generator, champion: Floats) -> Floats:
    """Return candidates that are two points better than the champions."""
    return champion + 0.02


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of many simulated runs.

    Attributes:
        below: share of runs whose last champion is 3 points or more below the reference model, in true accuracy.
        far_below: as ``below``, but with 5 points or more.
        change: mean true accuracy of the last champion minus that of the first.
        passed: share of the candidates that passed.
        power: share that passed of the candidates that are 2 points or more above champion and reference.
        optimism: mean measured accuracy of the last champion minus its true accuracy.
        estimated: mean of ``selection_optimism`` over the runs' candidates.
    """

    below: float
    far_below: float
    change: float
    passed: float
    power: float
    optimism: float
    estimated: float


class SimulatedSplits:
    """The test splits of many simulated runs, for which models with a known true accuracy can be drawn."""

    def __init__(self, *, discordance: float, runs: int, seed: int) -> None:
        """Draw the difficulty of each image of each run.

        Args:
            discordance: share of images that only one of two equal models predicts correctly.
            runs: number of runs.
            seed: seed of all random numbers.
        """
        spread = np.array(SPREAD) * discordance * _COUNTS.sum() / np.dot(SPREAD, _COUNTS)
        shared = np.array([_shared(recall, differ) for recall, differ in zip(_RECALL, spread, strict=True)])[_CLASS]
        self.random = np.random.default_rng(seed)
        self._own = np.sqrt(1 - shared)
        self._difficulty = np.sqrt(shared) * self.random.normal(size=(runs, len(_CLASS)))
        self.start = np.zeros(runs)

    def model(self, change: Floats) -> Bools:
        """Draw one model for each run, and return whether it predicts each image correctly, bool (runs, images).

        ``change`` (runs,) is the true accuracy of each model minus that of the first champion.
        """
        own = self._own * self.random.normal(size=self._difficulty.shape)
        correct: Bools = self._difficulty + own < norm.ppf(_recall(change))[:, _CLASS]
        return correct


def simulate(
    splits: SimulatedSplits,
    candidates: Candidates,
    rules: GateRules,
    *,
    weeks: int,
    with_memory: bool,
    resamples: int | None = None,
) -> Outcome:
    """Judge one candidate a week in every run, and return the outcome after the last week.

    ``with_memory`` says whether the gate also compares each candidate with the reference model. ``resamples`` is the
    number of resamples of each interval, by default that of the gate.
    """
    holds = partial(_holds, resamples=resamples)
    champion_change = splits.start
    champion = splits.model(champion_change)
    reference, reference_change, judged = champion, champion_change, [champion[:_ESTIMATES]]
    better: list[Bools] = []
    passes: list[Bools] = []
    for _ in range(weeks):
        change = candidates(splits.random, champion_change)
        candidate = splits.model(change)
        passed = _passes_champion(candidate, champion, rules, holds)
        if with_memory:
            passed &= holds(
                candidate, reference, rules.reference_confidence,
                lambda test: all(rule.passed for rule in reference_rules(test, rules, reference="")),
            )  # fmt: skip
        better.append(change > np.maximum(champion_change, reference_change) + 0.02 - 1e-9)
        passes.append(passed)
        judged.append(candidate[:_ESTIMATES])
        champion, champion_change = _where(passed, candidate, champion), np.where(passed, change, champion_change)
        shown = holds(champion, reference, rules.reference_confidence, partial(is_better, rules=rules))
        reference, reference_change = (
            _where(shown, champion, reference), np.where(shown, champion_change, reference_change)
        )  # fmt: skip
    last, best, first = (_accuracy(each) for each in (champion_change, reference_change, splits.start))
    groups = [str(image) for image in range(len(_CLASS))]
    return Outcome(
        below=float((last <= best - 0.03 + 1e-9).mean()),
        far_below=float((last <= best - 0.05 + 1e-9).mean()),
        change=float((last - first).mean()),
        passed=float(np.array(passes).mean()),
        power=float(np.array(passes)[np.array(better)].mean()) if np.array(better).any() else np.nan,
        optimism=float((champion.mean(axis=1) - last).mean()),
        estimated=float(np.mean([selection_optimism(run, groups) for run in np.array(judged).swapaxes(0, 1)])),
    )


def yearly_errors(splits: SimulatedSplits, rules: GateRules) -> float:
    """Return the share of runs in which a bad candidate passes the comparison with the reference within one year.

    All candidates are worse than the reference by the whole margin of the rule.
    """
    reference = splits.model(splits.start)
    worse = splits.start - rules.reference_margin
    found = np.zeros(len(reference), dtype=bool)
    for _ in range(rules.candidates_per_year):
        found |= _holds(
            splits.model(worse), reference, rules.reference_confidence,
            lambda test: reference_rules(test, rules, reference="")[0].passed,
        )  # fmt: skip
    return float(found.mean())


def _passes_champion(candidate: Bools, champion: Bools, rules: GateRules, holds: Callable[..., Bools]) -> Bools:
    lost, gained = champion & ~candidate, candidate & ~champion
    by_class = np.stack([(lost[:, c == _CLASS].sum(1) - gained[:, c == _CLASS].sum(1)) for c in range(4)], axis=1)
    keeps_classes = (by_class / _COUNTS <= rules.maximum_class_recall_loss + 1e-9).all(axis=1)
    margin, significance = rules.noninferiority_margin, rules.significance
    passed: Bools = keeps_classes & holds(
        candidate, champion, CONFIDENCE,
        lambda test: noninferiority_rule(test, margin).passed and mcnemar_rule(test, significance).passed,
    )  # fmt: skip
    return passed


def _holds(candidate: Bools, other: Bools, confidence: float, rule: Test, resamples: int | None = None) -> Bools:
    """Return for each run whether ``rule`` holds for the comparison of ``candidate`` with ``other``.

    The rule is computed once for all runs with the same counts of lost and gained images.
    """
    lost, gained = (other & ~candidate).sum(axis=1), (candidate & ~other).sum(axis=1)
    counts, run = np.unique(np.stack([lost, gained]), axis=1, return_inverse=True)
    results = [rule(_paired_test(int(a), int(b), confidence, resamples)) for a, b in counts.T]
    return np.array(results)[run]


@cache
def _paired_test(lost: int, gained: int, confidence: float, resamples: int | None) -> PairedTest:
    count = len(_CLASS)
    groups = {(-1, 1): lost, (1, 1): gained, (0, 1): count - lost - gained}
    present = {kind: n for kind, n in groups.items() if n}
    low, high = change_interval(present, confidence=confidence, resamples=resamples)
    return PairedTest(
        count=count, count_group=count, lost=lost, gained=gained, low=low, high=high,
        p_worse=mcnemar(lost=lost, gained=gained),
    )  # fmt: skip


def _shared(recall: float, differ: float) -> float:
    """Return the correlation at which two models with this ``recall`` differ on the share ``differ`` of the images."""
    threshold = norm.ppf(recall)

    def excess(correlation: float) -> float:
        covariance = [[1, correlation], [correlation, 1]]
        return float(2 * (recall - multivariate_normal.cdf([threshold] * 2, cov=covariance)) - differ)

    return float(brentq(excess, 1e-4, 1 - 1e-4))


def _points(random: np.random.Generator, like: Floats, low: int, high: int) -> Floats:
    return random.integers(low, high, size=like.shape, endpoint=True) / 100


def _recall(change: Floats) -> Floats:
    return np.clip(_RECALL + change[:, None], 0.01, 0.995)


def _accuracy(change: Floats) -> Floats:
    return np.asarray(_recall(change) @ _COUNTS / _COUNTS.sum())


def _where(passed: Bools, new: Bools, old: Bools) -> Bools:
    return np.where(passed[:, None], new, old)


def main() -> None:
    """Print the tables of decision 0045."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--weeks", type=int, default=104)
    parser.add_argument("--discordance", type=float, default=0.06)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rules = GateRules.load()

    def splits(runs: int = options.runs) -> SimulatedSplits:
        return SimulatedSplits(discordance=options.discordance, runs=runs, seed=options.seed)

    print("| candidates | gate | **3 points below** | 5 points below | mean change | power | optimism | estimated |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for words, candidates in SCENARIOS.items():
        for gate, with_memory in (("before", False), ("with memory", True)):
            found = simulate(splits(), candidates, rules, weeks=options.weeks, with_memory=with_memory)
            print(
                f"| {words} | {gate} | **{found.below:.3f}** | {found.far_below:.3f} | {found.change:+.3f} | "
                f"{found.power:.3f} | {found.optimism:+.4f} | {found.estimated:+.4f} |",
                flush=True,
            )
    powers = [
        simulate(splits(20_000), two_better, rules, weeks=1, with_memory=memory).passed for memory in (False, True)
    ]
    print(f"\nPower, a first candidate 2 points better: {powers[0]:.4f} before, {powers[1]:.4f} with memory")
    print(f"A candidate that loses the whole margin passes in one year: {yearly_errors(splits(), rules):.4f} of runs")


if __name__ == "__main__":
    main()
