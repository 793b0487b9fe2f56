"""Promote candidates that passed the gate, roll back, and refresh the reports of the old and the new champion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.database import transaction
from braintumor.errors import ConfigurationError, PromotionError
from braintumor.evaluation.gate.artifact_checks import require_valid_artifact
from braintumor.evaluation.report.publish import refresh_reports
from braintumor.evaluation.store import newest_verdict
from braintumor.promotion.approval import person_of
from braintumor.registry import promotions
from braintumor.registry.model_versions import ModelVersion, find_model
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
    """Promote the candidate of a gate verdict, and return whether this call promoted it. A retry changes nothing.

    Args:
        settings: connections to Postgres and S3, and the cache folder.
        gate_verdict_id: number of the verdict.
        approval: the result of Airflow's approval task, ``None`` if there was no such task.
        must_be_approved: whether the policy requires an approval.
        warn: called with a message for each report that cannot be refreshed. The promotion still succeeds.

    Raises:
        PromotionError: the approval is missing or older than the verdict, the gate refused the candidate, or the
            champion has changed since the gate. Or this verdict promoted the candidate before, and a later change
            undid that.
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
            text("""
            select run_key, model_version_id, champion_model_version_id, is_passed, summary,
                   coalesce(cast(:answered_at as timestamptz) >= judged_at, false) as is_answer_later
            from gate_verdict
            where gate_verdict_id = :id"""),
            {"id": gate_verdict_id, "answered_at": (approval or {}).get("responded_at")},
        ).one()
    if not row.is_passed:
        raise PromotionError(f"The gate refused this candidate, so it is not promoted: {row.summary}")
    if must_be_approved and not row.is_answer_later:
        raise PromotionError(
            "The approval is older than the verdict, so it was about an earlier verdict. Clear the task `approve` with "
            "its downstream tasks, and answer it again."
        )
    candidate = find_model(engine, str(row.model_version_id))
    former_id = row.champion_model_version_id  # of the verdict, because a retry finds the candidate as champion
    former = [] if former_id is None else [find_model(engine, str(former_id))]
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
    refresh(settings, [candidate, *former], warn=warn)
    return is_changed


def roll_back(
    settings: Settings,
    request: PromotionRequest,
    *,
    to: str | None,
    with_withdrawal: bool = False,
) -> Rollback:
    """Roll back to an earlier champion. The caller reports the new champion, and then calls ``refresh``.

    ``to`` is the name of the earlier champion. If it is ``None``, the function chooses the previous champion, as
    ``promotions.rollback`` does. ``with_withdrawal`` also withdraws the replaced champion.

    Raises:
        PromotionError: ``promotions.rollback`` refuses the rollback. The champion did not change.
        ModelIntegrityError: there is no model named ``to``.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    return promotions.rollback(
        engine,
        store,
        settings,
        request,
        to=None if to is None else find_model(engine, to),
        with_withdrawal=with_withdrawal,
    )


def refresh(settings: Settings, models: Iterable[ModelVersion | None], *, warn: Callable[[str], None]) -> None:
    """Rewrite the reports of ``models``, whose status has changed. ``None`` is skipped.

    ``warn`` receives a message for each report that cannot be written. The function raises no error of this library,
    because the change of status is already committed.
    """
    try:
        engine, store = database.connect(settings), ObjectStore.connect(settings)
        problems = refresh_reports(engine, store, [model for model in models if model is not None])
    except ConfigurationError as error:
        problems = [f"The reports still show the earlier status: {error}"]
    for problem in problems:
        warn(problem)


def passed_verdict(engine: Engine, model: ModelVersion) -> int:
    """Return the number of a model's newest gate verdict.

    Raises:
        PromotionError: the gate never judged the model, or the newest verdict refused it.
    """
    with transaction(engine) as connection:
        row = newest_verdict(connection, model)
    if row is None or not row.is_passed:
        why = "The gate has no verdict on it" if row is None else f"The gate refused it: {row.summary}"
        raise PromotionError(
            f"{model.model_name} may not be promoted. {why}. To promote it anyway, add --override. The promotion "
            "history keeps the override and your reason."
        )
    verdict_id: int = row.gate_verdict_id
    return verdict_id
