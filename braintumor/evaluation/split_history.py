"""Find the candidates that the gate has judged on one test split, and the resulting optimism of test accuracies.

The optimism of an accuracy is its expected excess over the true accuracy, because models were selected on the split.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, text

from braintumor.db.statements import statement
from braintumor.evaluation.metrics.optimism import MINIMUM_GROUPS, selection_optimism
from braintumor.evaluation.metrics.significance import ImagePredictions
from braintumor.registry.model_versions import ModelVersion


@dataclass(frozen=True, kw_only=True)
class SplitCandidates:
    """Hold the candidates that the gate has judged on one test split, including the present candidate.

    Attributes:
        model_version_ids: IDs of the candidates.
        count_year: number of the candidates with a verdict in the last 365 days, including the present candidate.
    """

    model_version_ids: frozenset[int]
    count_year: int


def judged_candidates(connection: Connection, candidate: ModelVersion, *, same_share: float) -> SplitCandidates:
    """Return the candidates that the gate has judged on the candidate's test split.

    Args:
        connection: connection with an open transaction.
        candidate: the present candidate. The result includes it, even if its verdict is not stored yet.
        same_share: another test split counts as the same if it has at least this share of the candidate's test images.
    """
    rows = connection.execute(
        statement("evaluation/judged_candidates"), {"snapshot": candidate.snapshot_id, "share": same_share}
    ).all()
    recent = {row.model_version_id for row in rows if row.is_recent} | {candidate.model_version_id}
    judged = {row.model_version_id for row in rows} | {candidate.model_version_id}
    return SplitCandidates(model_version_ids=frozenset(judged), count_year=len(recent))


def champion_optimism(
    connection: Connection, champion: ModelVersion, judged: SplitCandidates, predictions: ImagePredictions
) -> float | str:
    """Return an upper limit for the optimism of the champion's test accuracy, or a text that says why it is unknown.

    The champion was selected from models with predictions of the same images. The function estimates the optimism of
    the best of these models, which is an upper limit for the champion.

    Args:
        connection: connection with an open transaction.
        champion: the champion.
        judged: the candidates of the test split.
        predictions: the present candidate's predictions, which determine the images.
    """
    models = sorted(judged.model_version_ids | {champion.model_version_id})
    correct = _correct(connection, models, predictions)
    groups = [prediction.group_key for prediction in predictions.values()]
    if champion.model_version_id not in correct:
        return f"the champion {champion.model_name} has no predictions of these test images"
    if len(correct) == 1:
        return "no other model has predictions of these test images"
    if len(set(groups)) < MINIMUM_GROUPS:
        return f"the test split has {len(set(groups))} groups of images, {MINIMUM_GROUPS} are required"
    return selection_optimism(np.array(list(correct.values())), groups)


def _correct(connection: Connection, models: list[int], predictions: ImagePredictions) -> dict[int, list[bool]]:
    """Return whether each prediction is correct, by ID of the model, in the order of the images in ``predictions``.

    A model without predictions of all these images is left out. ``models`` has the IDs of the models.
    """
    rows = connection.execute(
        text("""
        select distinct on (model_version_id, image_sha256)
            model_version_id, image_sha256, label = predicted_class as is_correct
        from test_prediction
        join evaluation using (evaluation_id)
        where model_version_id = any(:models) and split = 'test' and image_sha256 = any(:images)
        order by model_version_id, image_sha256, evaluated_at desc"""),
        {"models": models, "images": list(predictions)},
    )
    found: defaultdict[int, dict[str, bool]] = defaultdict(dict)
    for row in rows:
        found[row.model_version_id][row.image_sha256] = row.is_correct
    return {
        model: [correct[image] for image in predictions]
        for model, correct in found.items()
        if len(correct) == len(predictions)
    }
