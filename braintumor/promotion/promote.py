"""From a verdict to the ledger: only what the gate passed is promoted without an override."""

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
from braintumor.registry.promotions import Rollback
from braintumor.s3 import ObjectStore


def promote_candidate(
    settings: Settings,
    gate_verdict_id: int,
    *,
    approval: dict[str, Any] | None = None,
    must_be_approved: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> bool:
    """Promote what passed the gate; ``approval`` is the answer of Airflow's approval task, if a person was asked.

    Returns whether the champion changed: a retry changes nothing.

    Raises:
        PromotionError: a person was to be asked and did not approve, the gate refused the candidate, or it compared it
            with somebody who is champion no longer.
        ModelIntegrityError: it is not whole, or no longer.
    """
    if must_be_approved and (approval or {}).get("chosen_options") != ["Approve"]:
        raise PromotionError(
            "The policy is `ask`, and nobody approved this candidate: a task marked as successful is no answer. Clear "
            "the task `approve` and answer it, or promote with `braintumor model promote NAME --reason ...`."
        )
    engine = database.connect(settings)
    with transaction(engine) as connection:
        row = connection.execute(
            text("select run_key, model_version_id, is_passed, summary from gate_verdict where gate_verdict_id = :id"),
            {"id": gate_verdict_id},
        ).one()
    if not row.is_passed:
        raise PromotionError(f"The gate refused this candidate, so it stays one: {row.summary}")
    before, candidate = find_champion(engine), find_model(engine, str(row.model_version_id))
    require_valid_artifact(settings, candidate)  # an approval can take days
    is_changed = promotions.promote(
        engine,
        candidate,
        request_key=f"retrain {row.run_key} verdict {gate_verdict_id}",
        actor=person_of(approval or {}) or "policy auto",
        reason=row.summary,
        gate_verdict_id=gate_verdict_id,
    )
    for problem in refresh_reports(engine, ObjectStore.connect(settings), [candidate, *([before] if before else [])]):
        say(problem)
    return is_changed


def roll_back(
    settings: Settings,
    *,
    to: str | None,
    request_key: str,
    actor: str,
    reason: str,
    with_withdrawal: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Rollback:
    """``ledger.rollback`` to the model that ``to`` names, and the reports of both written anew.

    Raises:
        PromotionError: as ``ledger.rollback``; then nothing was changed.
        ModelIntegrityError: there is no such model.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    done = promotions.rollback(
        engine,
        store,
        settings,
        request_key=request_key,
        actor=actor,
        reason=reason,
        to=None if to is None else find_model(engine, to),
        with_withdrawal=with_withdrawal,
    )
    if done.replaced is not None:
        for problem in refresh_reports(engine, store, [done.champion, done.replaced]):
            say(problem)
    return done


def passed_verdict(engine: Engine, model: ModelVersion) -> int:
    """The newest verdict on a model, which must have passed it.

    Raises:
        PromotionError: the gate never saw it, or refused it.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select gate_verdict_id, is_passed, summary from gate_verdict
            where model_version_id = :id order by gate_verdict_id desc limit 1"""),
            {"id": model.model_version_id},
        ).one_or_none()
    if row is None or not row.is_passed:
        why = "It was never before the gate" if row is None else f"The gate refused it: {row.summary}"
        raise PromotionError(
            f"{model.model_name} may not be promoted. {why}. To promote it all the same, add --override; the ledger "
            "keeps that with your reason."
        )
    found: int = row.gate_verdict_id
    return found
