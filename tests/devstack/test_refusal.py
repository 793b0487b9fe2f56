"""Check the demo's output when the gate refuses the candidate."""

from __future__ import annotations

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.evaluation.gate.gate import RuleOutcome, Verdict
from braintumor.evaluation.judge_run import Judgment
from braintumor.registry import model_versions
from devstack.demo import DemoError, show_verdict


@pytest.fixture
def refused(settings: Settings) -> Judgment:
    floor = RuleOutcome(name="accuracy", passed=False, bound=0.8, value=0.7, reason="accuracy 0.70 is below 0.80")
    verdict = Verdict(passed=False, rules_version=1, rules=(floor,), summary="Refused: 1 of 1 rules failed (accuracy)")
    candidate = model_versions.champion(database.connect(settings))
    return Judgment(gate_verdict_id=1, candidate=candidate, verdict=verdict, champion_model_version_id=None)


def test_refusal_without_champion_raises_with_remedy(refused: Judgment) -> None:
    messages: list[str] = []
    with pytest.raises(DemoError, match="BRAINTUMOR_DEMO_WEIGHTS"):
        show_verdict(refused, None, messages.append)
    assert messages == ["Gate: Refused: 1 of 1 rules failed (accuracy)", "  accuracy: accuracy 0.70 is below 0.80"]


def test_refusal_keeps_earlier_champion(refused: Judgment) -> None:
    messages: list[str] = []
    show_verdict(refused, refused.candidate, messages.append)
    assert messages[-1] == f"Champion: {refused.candidate.model_name}, of an earlier run"
