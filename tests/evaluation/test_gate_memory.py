"""Tests of the simulated effect of the gate's memory, to notice a change of the rules."""

from __future__ import annotations

import pytest

from benchmarks.gate_memory import SCENARIOS, SimulatedSplits, simulate, two_better
from braintumor.evaluation.gate.rules import GateRules

RULES = GateRules.load()
RESAMPLES = 10_000
"""A tenth of what the gate uses for the reference, because most of the time of a simulation is spent on them."""


def splits(runs: int) -> SimulatedSplits:
    return SimulatedSplits(discordance=0.06, runs=runs, seed=1)


def test_models_of_a_world_have_the_given_accuracy_and_discordance() -> None:
    many = splits(400)
    first, second, worse = (many.model(many.start + change) for change in (0, 0, -0.04))
    assert first.mean() == pytest.approx(0.8595, abs=0.004)
    assert (first != second).mean() == pytest.approx(0.06, abs=0.004)
    assert first.mean() - worse.mean() == pytest.approx(0.04, abs=0.004)


def test_a_year_of_small_losses_does_not_add_up_with_memory() -> None:
    candidates = SCENARIOS["-4 to +2 points from the champion"]
    before, after = (
        simulate(splits(100), candidates, RULES, weeks=52, with_memory=with_memory, resamples=RESAMPLES)
        for with_memory in (False, True)
    )
    assert after.below <= 0.06
    assert before.below > 0.15
    assert after.change > before.change
    assert after.optimism < after.estimated, "the estimate is an upper limit"


def test_memory_does_not_refuse_a_better_first_candidate() -> None:
    before, after = (
        simulate(splits(1000), two_better, RULES, weeks=1, with_memory=with_memory, resamples=RESAMPLES)
        for with_memory in (False, True)
    )
    assert after.passed == pytest.approx(before.passed, abs=0.002)
    assert after.passed > 0.98
