"""Read from Postgres which candidates the gate has judged on one test split, and how optimistic its figures are."""

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
    """Hold the numbers of the candidates that the gate has judged on one test split, with the present candidate.

    Attributes:
        model_version_ids: the candidates.
        count_year: number of the candidates with a verdict in the last 365 days.
    """

    model_version_ids: frozenset[int]
    count_year: int


def judged_candidates(connection: Connection, candidate: ModelVersion, *, same_share: float) -> SplitCandidates:
    """Return the candidates that the gate has judged on the candidate's test split.

    Args:
        connection: connection with an open transaction.
        candidate: the present candidate. It counts, also before its verdict is stored.
        same_share: share of the candidate's test images from which another test split counts as the same.
    """
    rows = connection.execute(
        statement("evaluation/judged_candidates"),
        {"snapshot": candidate.snapshot_id, "share": same_share},
    ).all()
    recent = {row.model_version_id for row in rows if row.is_recent} | {candidate.model_version_id}
    judged = {row.model_version_id for row in rows} | {candidate.model_version_id}
    return SplitCandidates(model_version_ids=frozenset(judged), count_year=len(recent))


def champion_optimism(
    connection: Connection, champion: ModelVersion, judged: SplitCandidates, predictions: ImagePredictions
) -> float | str:
    """Return the largest expected excess of the champion's accuracy on a test split, or why it is not assessed.

    The champion was selected among models with results on the same images. The estimate is the optimism of the best
    of these models, so it is an upper limit for the champion.

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
    """Return for each model with predictions of all images whether each prediction is correct, in the images' order."""
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
