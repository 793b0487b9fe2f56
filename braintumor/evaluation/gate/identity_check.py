"""Check that a candidate is not bit-identical to the champion.

A retrain without new images and with the same recipe gives the champion's weights again, because training is
deterministic on one machine.
"""

from __future__ import annotations

from braintumor.evaluation.gate.gate import DIFFERS_FROM_CHAMPION, RuleOutcome
from braintumor.registry.model_versions import ModelVersion
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, REFERENCE

_COMPARED = (GRAPH, GRAPH_WEIGHTS, REFERENCE)
"""Files that determine predictions. The manifest is not compared, because it has the time of the training."""


def differs_from_champion(candidate: ModelVersion, champion: ModelVersion) -> RuleOutcome:
    """Return the outcome of the rule ``differs_from_champion``.

    It compares the registered sha256s of both models, and the thresholds of their prediction sets.
    """
    ours, theirs = candidate.artifact_sha256s, champion.artifact_sha256s
    different = [name for name in _COMPARED if ours.get(name) != theirs.get(name)]
    if not different and candidate.prediction_sets != champion.prediction_sets:
        reason = "the thresholds of the prediction sets differ from the champion's"
        return RuleOutcome(name=DIFFERS_FROM_CHAMPION, passed=True, bound=1, value=1, reason=reason)
    reason = f"{', '.join(different)} and the champion's have different sha256s"
    if not different:
        reason = (
            f"identical to the champion {champion.model_name}: {', '.join(_COMPARED)} have the same sha256s, so a "
            "promotion would change no prediction"
        )
    return RuleOutcome(name=DIFFERS_FROM_CHAMPION, passed=bool(different), bound=1, value=len(different), reason=reason)
