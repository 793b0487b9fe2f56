"""Tests of the false and true refusal rates of the packaged change rules, to notice a change."""

from __future__ import annotations

import pytest

from benchmarks.gate_power import PHANTOMS, SARTAJ, refusals
from braintumor.evaluation.gate.rules import GateRules


@pytest.mark.parametrize("counts", [SARTAJ, PHANTOMS])
@pytest.mark.parametrize("discordance", [0.04, 0.08])
def test_equal_candidates_pass_and_worse_ones_are_refused(counts: tuple[int, ...], discordance: float) -> None:
    rules = GateRules.load()
    equal = refusals(rules, counts, discordance=discordance, worse=0.0, trials=400)
    worse = refusals(rules, counts, discordance=max(discordance, 0.06), worse=0.05, trials=400)
    assert equal.any < 0.12
    assert worse.any > 0.90
