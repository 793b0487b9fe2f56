"""Store and find the reference model, with which the gate compares each candidate."""

from __future__ import annotations

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import PromotionError
from braintumor.registry.model_versions import ModelVersion, find_model
from braintumor.registry.promotions import lock_promotions

GATE = "gate"
"""Actor that is stored if the gate, not a person, chose the reference model."""
_NEWEST = "select model_version_id from reference_model order by reference_model_id desc limit 1"


def find_reference(engine: Engine) -> ModelVersion | None:
    """Return the reference model, or ``None`` if no model was chosen or if the chosen model is withdrawn."""
    with transaction(engine) as connection:
        number = connection.scalar(text(_NEWEST))
    model = None if number is None else find_model(engine, str(number))
    return None if model is None or model.withdrawn_at is not None else model


def name_reference(engine: Engine, model: ModelVersion, *, actor: str, reason: str) -> bool:
    """Make ``model`` the reference model of the gate.

    Args:
        engine: engine of the Postgres database.
        model: the model.
        actor: name of the person who chose the model, or ``GATE``.
        reason: reason for the choice.

    Returns:
        Whether a row was added. No row is added if ``model`` is the reference model already.

    Raises:
        PromotionError: the model is withdrawn, or its files were pruned.
    """
    with transaction(engine) as connection:
        lock_promotions(connection)
        current = connection.scalar(text(_NEWEST))
        status = connection.execute(
            text("select withdrawn_at, pruned_at from model_status where model_version_id = :model"),
            {"model": model.model_version_id},
        ).one()
        if current == model.model_version_id and status.withdrawn_at is None:
            return False
        if status.withdrawn_at is not None or status.pruned_at is not None:
            fault = "was withdrawn" if status.withdrawn_at is not None else "has no files, because they were pruned"
            raise PromotionError(
                f"{model.model_name} {fault}, so it cannot be the reference model. The reference stays as it is. Name "
                "a model that `braintumor model list` shows without these words."
            )
        connection.execute(
            text("insert into reference_model (model_version_id, actor, reason) values (:model, :actor, :reason)"),
            {"model": model.model_version_id, "actor": actor, "reason": reason},
        )
    return True
