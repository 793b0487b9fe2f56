"""Check that a candidate is not bit-identical to the champion, or to a model that people took out of service.

A retrain without new images and with the same recipe gives the champion's weights again, because training is
deterministic on one machine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from braintumor.evaluation.gate.gate import DIFFERS_FROM_CHAMPION, RuleOutcome
from braintumor.registry.model_versions import ModelVersion
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, REFERENCE

DIFFERS_FROM_WITHDRAWN = "differs_from_withdrawn"
"""Name of the rule that refuses a copy of a withdrawn model, and of a champion that a rollback undid."""
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


def differs_from_withdrawn(
    candidate: ModelVersion,
    models: Collection[ModelVersion],
    *,
    undone: Collection[int],
    rejected: Mapping[int, datetime],
) -> RuleOutcome:
    """Return the outcome of the rule ``differs_from_withdrawn``.

    A withdrawn model, and a champion that a rollback undid, must not return under another name. A model that a person
    rejected is named only. The comparison is that of ``differs_from_champion``.

    Args:
        candidate: the candidate.
        models: all models of the registry.
        undone: numbers of the champions that rollbacks undid.
        rejected: number of a model that a person rejected -> time of the rejection.
    """
    refusals, reason = [], "no withdrawn model, and no champion that a rollback undid, has the same files"
    for model in models:
        if not _is_copy(candidate, model):
            continue
        if model.withdrawn_at is not None:
            refusals.append(f"identical to {model.model_name}, withdrawn on {model.withdrawn_at:%Y-%m-%d}")
        elif model.model_version_id in undone:
            refusals.append(f"identical to {model.model_name}, which a rollback replaced")
        elif model.model_version_id in rejected:
            day = f"{rejected[model.model_version_id]:%Y-%m-%d}"
            reason += f"; identical to {model.model_name}, which a person rejected on {day}"
    if refusals:
        reason = f"{'; '.join(refusals)}: train on other images or with another recipe"
    return RuleOutcome(name=DIFFERS_FROM_WITHDRAWN, passed=not refusals, bound=0, value=len(refusals), reason=reason)


def _is_copy(candidate: ModelVersion, other: ModelVersion) -> bool:
    ours, theirs = candidate.artifact_sha256s, other.artifact_sha256s
    same_files = all(ours.get(name) == theirs.get(name) for name in _COMPARED)
    return same_files and candidate.prediction_sets == other.prediction_sets
