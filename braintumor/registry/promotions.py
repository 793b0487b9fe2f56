"""The promotion ledger: who became champion, when, by whom and why; the way back; and who was withdrawn.

Rows are only added. Each act takes the ledger's lock, looks at what it builds on, and commits once, so that two acts
at the same time are one after the other, and whoever is killed on the way has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import advisory_lock, transaction
from braintumor.errors import ModelIntegrityError, PromotionError
from braintumor.registry.model_versions import ModelVersion, find_champion, find_model, require_whole
from braintumor.s3 import ObjectStore


@dataclass(frozen=True, kw_only=True)
class PromotionEvent:
    """One act: ``promote``, ``rollback``, ``withdraw`` or ``prune``."""

    acted_at: datetime
    action: str
    model_name: str
    is_override: bool
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """What a rollback changed: nothing, where ``replaced`` is ``None``."""

    champion: ModelVersion
    replaced: ModelVersion | None


@dataclass(frozen=True, kw_only=True)
class CurrentPredictions:
    """How many frames and scans have a model's answer as their newest one."""

    count_frame: int
    count_scan: int


def promotion_events(engine: Engine, model: ModelVersion | None = None) -> list[PromotionEvent]:
    """The acts on one model, or on all, oldest first."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
            select acted_at, action, model_name, is_override, actor, reason from promotion_history
            where model_version_id = coalesce(:id, model_version_id) order by acted_at"""),
            {"id": model and model.model_version_id},
        )
        return [PromotionEvent(**row._mapping) for row in rows]


def champion_at(engine: Engine, at: datetime) -> ModelVersion | None:
    """The model that was live at a time, which must have a zone; ``None`` where there was none."""
    with transaction(engine) as connection:
        found = connection.scalar(text("select champion_at(:at)"), {"at": at})
    return None if found is None else find_model(engine, str(found))


def current_predictions(engine: Engine, model: ModelVersion) -> CurrentPredictions:
    """What people would be told by this model if they looked now."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select count(*) as count_frame, count(distinct scan_id) as count_scan
            from current_prediction where model_name = :name"""),
            {"name": model.model_name},
        ).one()
    return CurrentPredictions(**row._mapping)


def promote(
    engine: Engine,
    model: ModelVersion,
    *,
    request_key: str,
    actor: str,
    reason: str,
    gate_verdict_id: int | None = None,
    is_override: bool = False,
) -> bool:
    """Add a row to the ledger: from its commit on, ``model`` is the champion.

    The same ``request_key`` adds no second row, so a retry changes nothing. Returns whether a row was added.

    Raises:
        PromotionError: the verdict was passed against somebody who is champion no longer, or the model is withdrawn
            and this is no override, or its files were pruned.
    """
    with transaction(engine) as connection:
        lock_promotions(connection)
        if _is_known(connection, request_key):
            return False
        if gate_verdict_id is not None:
            _require_judged_champion(connection, gate_verdict_id)
        _require_promotable(connection, model, is_override=is_override)
        connection.execute(
            text("""
            insert into promotion (request_key, action, model_version_id, gate_verdict_id, is_override, actor, reason)
            values (:request_key, 'promote', :model, :verdict, :is_override, :actor, :reason)"""),
            {
                "request_key": request_key,
                "model": model.model_version_id,
                "verdict": gate_verdict_id,
                "is_override": is_override,
                "actor": actor,
                "reason": reason,
            },
        )
        return True


def rollback(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    *,
    request_key: str,
    actor: str,
    reason: str,
    to: ModelVersion | None = None,
    with_withdrawal: bool = False,
) -> Rollback:
    """Make an earlier champion the champion again, in one commit; with ``with_withdrawal`` also withdraw today's.

    Without ``to`` it is the one that was champion before today's: what earlier rollbacks took back, and who was
    withdrawn, is passed over. Its files are fetched and loaded first. Asked for who is champion already, and for a
    ``request_key`` that is in the ledger, it changes nothing.

    Raises:
        PromotionError: there is no earlier champion, ``to`` never was one or is withdrawn, its files are gone or
            damaged, or the ledger changed meanwhile.
    """
    with transaction(engine) as connection:
        step = None if _is_known(connection, request_key) else _step(connection, to)
    if step is None:
        return Rollback(champion=to or _now(engine), replaced=None)
    current, target = (find_model(engine, str(number)) for number in step)
    try:
        require_whole(store, settings, target)
    except ModelIntegrityError as exc:
        raise PromotionError(f"{target.model_name} cannot answer, so nothing was changed. {exc}") from exc
    with transaction(engine) as connection:
        lock_promotions(connection)
        if _step(connection, to) != step:
            raise PromotionError(
                "The ledger changed while the files were being checked, so nothing was done. See `braintumor model "
                "champion`, and ask again if it is still wanted."
            )
        _append_rollback(connection, target, request_key=request_key, actor=actor, reason=reason)
        if with_withdrawal:
            _append_withdrawal(connection, current, actor=actor, reason=reason)
    return Rollback(champion=find_model(engine, target.model_name), replaced=find_model(engine, current.model_name))


def withdraw(engine: Engine, model: ModelVersion, *, actor: str, reason: str) -> bool:
    """Withdraw a model: its answers return to the worklist, and only an override promotes it again.

    The champion too: then nobody is, and no night is scored until somebody is promoted or rolled back to. Returns
    whether a row was added: none for a model that is withdrawn already.
    """
    with transaction(engine) as connection:
        lock_promotions(connection)
        return _append_withdrawal(connection, model, actor=actor, reason=reason)


def lock_promotions(connection: Connection) -> None:
    """Until the transaction's end nobody else becomes champion; readers are not held up."""
    advisory_lock(connection, "ledger")


def _is_known(connection: Connection, request_key: str) -> bool:
    known: bool = connection.execute(
        text("select exists (select from promotion where request_key = :key)"), {"key": request_key}
    ).scalar_one()
    return known


def _now(engine: Engine) -> ModelVersion:
    found = find_champion(engine)
    if found is None:
        raise PromotionError("This rollback was done, and its model was withdrawn since. See `braintumor model list`.")
    return found


def _step(connection: Connection, to: ModelVersion | None) -> tuple[int, int] | None:
    """From whom to whom a rollback leads; ``None`` where ``to`` is the champion already."""
    rows = connection.execute(text("select action::text, model_version_id from promotion order by promotion_id")).all()
    withdrawn = set(connection.scalars(text("select model_version_id from withdrawn_model")))
    line = _line((row.action, row.model_version_id) for row in rows)
    if to is not None:
        _require_former(to, {row.model_version_id for row in rows}, withdrawn)
        return None if line[-1] == to.model_version_id else (line[-1], to.model_version_id)
    earlier = [number for number in line if number != line[-1] and number not in withdrawn]
    if not earlier:
        raise PromotionError(
            "There is no earlier champion to go back to. Promote another model: `braintumor model promote NAME`, or "
            "stop this one: `braintumor model withdraw NAME`; then no night is scored."
        )
    return line[-1], earlier[-1]


def _line(rows: Iterable[tuple[str, int]]) -> list[int]:
    """The champions that led to today's, oldest first, without what rollbacks took back."""
    line: list[int] = []
    for action, number in rows:
        if action == "rollback" and number in line:
            while line[-1] != number:
                line.pop()
        elif line[-1:] != [number]:
            line.append(number)
    return line


def _require_former(to: ModelVersion, former: set[int], withdrawn: set[int]) -> None:
    if to.model_version_id not in former:
        raise PromotionError(
            f"{to.model_name} was never champion, so there is no going back to it. `braintumor model list` shows who "
            "was; a new model goes through the gate: `braintumor model promote NAME`."
        )
    if to.model_version_id in withdrawn:
        raise PromotionError(_withdrawn(to.model_name))


def _append_rollback(
    connection: Connection, target: ModelVersion, *, request_key: str, actor: str, reason: str
) -> None:
    """Who last became champion by an override comes back as one."""
    connection.execute(
        text("""
        insert into promotion (request_key, action, model_version_id, is_override, actor, reason)
        select :request_key, 'rollback', model_version_id, is_override, :actor, :reason
        from model_status where model_version_id = :model"""),
        {"request_key": request_key, "model": target.model_version_id, "actor": actor, "reason": reason},
    )


def _append_withdrawal(connection: Connection, model: ModelVersion, *, actor: str, reason: str) -> bool:
    added = connection.execute(
        text("""
        insert into withdrawal (model_version_id, after_promotion_id, actor, reason)
        select :model, (select max(promotion_id) from promotion), :actor, :reason
        where :model not in (select model_version_id from withdrawn_model)"""),
        {"model": model.model_version_id, "actor": actor, "reason": reason},
    )
    return added.rowcount == 1


def _require_promotable(connection: Connection, model: ModelVersion, *, is_override: bool) -> None:
    row = connection.execute(
        text("""
        select withdrawn_at is not null as is_withdrawn, pruned_at is not null as is_pruned
        from model_status where model_version_id = :id"""),
        {"id": model.model_version_id},
    ).one()
    if row.is_pruned:
        raise PromotionError(
            f"The files of {model.model_name} were pruned, so it cannot answer. Train its recipe again: `braintumor "
            f"train --recipe {model.recipe_name}`."
        )
    if row.is_withdrawn and not is_override:
        raise PromotionError(_withdrawn(model.model_name))


def _withdrawn(name: str) -> str:
    return (
        f"{name} was withdrawn; `braintumor model show {name}` says why. The remedy is a new training. To take the "
        "withdrawal back all the same: `braintumor model promote NAME --override --reason ...`, which shows everywhere."
    )


def _require_judged_champion(connection: Connection, gate_verdict_id: int) -> None:
    judged_against, now = connection.execute(
        text("""
        select judged.model_name, (select model_name from champion)
        from gate_verdict
        left join model_version as judged on judged.model_version_id = champion_model_version_id
        where gate_verdict_id = :id"""),
        {"id": gate_verdict_id},
    ).one()
    if judged_against != now:
        raise PromotionError(
            f"The gate compared this candidate with {judged_against or 'no champion'}, but the champion is now "
            f"{now or 'nobody'}. Clear the task `gate` of its run, which judges it again, or promote it with "
            "`braintumor model promote NAME --override --reason ...`."
        )
