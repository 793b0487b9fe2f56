"""Promote candidates that passed the gate, and roll back. Refresh the reports of the old and the new champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.errors import PromotionError
from braintumor.evaluation.gate.artifact_checks import require_valid_artifact
from braintumor.evaluation.report.publish import refresh_reports
from braintumor.promotion.approval import person_of
from braintumor.registry import promotions
from braintumor.registry.model_versions import ModelVersion, find_champion, find_model
from braintumor.registry.promotions import PromotionRequest, Rollback
from braintumor.s3 import ObjectStore


def promote_candidate(
    settings: Settings,
    gate_verdict_id: int,
    *,
    approval: dict[str, Any] | None = None,
    must_be_approved: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> bool:
    """Promote the candidate of a gate verdict.

    Args:
        settings: for Postgres, S3 and the cache folder.
        gate_verdict_id: number of the verdict.
        approval: the result of Airflow's approval task. ``None`` without such a task.
        must_be_approved: whether the policy requires an approval.
        warn: called with a message for each report that cannot be refreshed. The promotion still succeeds.

    Returns:
        Whether this call promoted the candidate. A retry changes nothing.

    Raises:
        PromotionError: the required approval is missing, or the gate refused the candidate. Or the champion is another
            model than the one that the gate compared with the candidate.
        ModelIntegrityError: files of the candidate are missing or damaged.
    """
    if must_be_approved and (approval or {}).get("chosen_options") != ["Approve"]:
        raise PromotionError(
            "The policy is `ask`, and this candidate was not approved. To mark a task as successful is not enough. "
            "Clear the task `approve` and answer it, or promote with `braintumor model promote NAME --reason ...`."
        )
    engine = database.connect(settings)
    with transaction(engine) as connection:
        row = connection.execute(
            text("select run_key, model_version_id, is_passed, summary from gate_verdict where gate_verdict_id = :id"),
            {"id": gate_verdict_id},
        ).one()
    if not row.is_passed:
        raise PromotionError(f"The gate refused this candidate, so it is not promoted: {row.summary}")
    before, candidate = find_champion(engine), find_model(engine, str(row.model_version_id))
    require_valid_artifact(settings, candidate)  # because the approval can take days
    is_changed = promotions.promote(
        engine,
        candidate,
        PromotionRequest(
            request_key=f"retrain {row.run_key} verdict {gate_verdict_id}",
            actor=person_of(approval or {}) or "policy auto",
            reason=row.summary,
        ),
        gate_verdict_id=gate_verdict_id,
    )
    for problem in refresh_reports(engine, ObjectStore.connect(settings), [candidate, *([before] if before else [])]):
        warn(problem)
    return is_changed


def roll_back(
    settings: Settings,
    request: PromotionRequest,
    *,
    to: str | None,
    with_withdrawal: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Rollback:
    """Roll back to an earlier champion, and refresh the reports of the old and the new champion.

    Args:
        settings: for Postgres, S3 and the cache folder.
        request: the request.
        to: name of the target. By default, the previous champion, as in ``promotions.rollback``.
        with_withdrawal: also withdraw the champion that the target replaces.
        warn: called with a message for each report that cannot be refreshed. The rollback still succeeds.

    Raises:
        PromotionError: ``promotions.rollback`` refuses the rollback. The champion did not change.
        ModelIntegrityError: there is no model named ``to``.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    result = promotions.rollback(
        engine,
        store,
        settings,
        request,
        to=None if to is None else find_model(engine, to),
        with_withdrawal=with_withdrawal,
    )
    if result.replaced is not None:
        for problem in refresh_reports(engine, store, [result.champion, result.replaced]):
            warn(problem)
    return result


def passed_verdict(engine: Engine, model: ModelVersion) -> int:
    """Return the number of a model's newest gate verdict, which must be a pass.

    Raises:
        PromotionError: the model has no gate verdict, or the newest verdict is a refusal.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select gate_verdict_id, is_passed, summary from gate_verdict
            where model_version_id = :id order by gate_verdict_id desc limit 1"""),
            {"id": model.model_version_id},
        ).one_or_none()
    if row is None or not row.is_passed:
        why = "The gate has no verdict on it" if row is None else f"The gate refused it: {row.summary}"
        raise PromotionError(
            f"{model.model_name} may not be promoted. {why}. To promote it anyway, add --override. The promotion "
            "history keeps the override and your reason."
        )
    verdict_id: int = row.gate_verdict_id
    return verdict_id
