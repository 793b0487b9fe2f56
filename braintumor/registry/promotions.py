"""Promote, roll back and withdraw models, and read the append-only promotion history.

Each change is one transaction that holds the promotion lock, so changes run one after the other. A process that is
killed before the commit has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from braintumor.config.settings import Settings
from braintumor.db.database import advisory_lock, transaction
from braintumor.errors import ModelIntegrityError, PromotionError
from braintumor.registry.model_versions import ModelVersion, find_champion, find_model, require_whole
from braintumor.s3 import ObjectStore


@dataclass(frozen=True, kw_only=True)
class PromotionRequest:
    """A request of a person or a policy to change the champion.

    A retry with the same ``request_key`` changes nothing. The promotion history keeps the reason.
    """

    request_key: str
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PromotionEvent:
    """One event of the promotion history. ``action`` is ``promote``, ``rollback``, ``withdraw`` or ``prune``."""

    acted_at: datetime
    action: str
    model_name: str
    is_override: bool
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """The result of a rollback.

    ``replaced`` is ``None`` if this call changed nothing. Then ``is_recorded`` says whether an earlier call of the same
    request did the rollback. If not, ``champion`` was the champion already.
    """

    champion: ModelVersion
    replaced: ModelVersion | None
    is_recorded: bool = True


@dataclass(frozen=True, kw_only=True)
class CurrentPredictions:
    """The number of frames, and of their scans, whose current prediction is from one model.

    A frame's current prediction is the one that counts, that of the latest scoring or rescoring run.
    """

    count_frame: int
    count_scan: int


def promotion_events(engine: Engine, model: ModelVersion | None = None) -> list[PromotionEvent]:
    """Return the events of one model, or of all models, oldest first."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
            select acted_at, action, model_name, is_override, actor, reason from promotion_history
            where model_version_id = coalesce(:id, model_version_id) order by acted_at"""),
            {"id": model and model.model_version_id},
        )
        return [PromotionEvent(**row._mapping) for row in rows]


def champion_at(engine: Engine, at: datetime) -> ModelVersion | None:
    """Return the model that was champion at the time ``at``, or ``None`` if there was no champion.

    ``at`` must have a time zone.
    """
    with transaction(engine) as connection:
        number = connection.scalar(text("select champion_at(:at)"), {"at": at})
    return None if number is None else find_model(engine, str(number))


def undone_models(connection: Connection) -> set[int]:
    """Return the numbers of the former champions that a rollback undid and that no later promotion restored."""
    rows = connection.execute(text("select action::text, model_version_id from promotion order by promotion_id")).all()
    line = _line((row.action, row.model_version_id) for row in rows)
    return {row.model_version_id for row in rows} - set(line)


def current_predictions(engine: Engine, model: ModelVersion) -> CurrentPredictions:
    """Return the number of frames and scans whose current prediction is from ``model``."""
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
    request: PromotionRequest,
    *,
    gate_verdict_id: int | None = None,
    is_override: bool = False,
) -> bool:
    """Make ``model`` the champion by a new row in the promotion history, and return whether a row was added.

    A retry with the same ``request_key`` adds no row, and requires that ``model`` is still the champion.
    ``gate_verdict_id`` is the verdict that allows the promotion. ``is_override`` records that no passed gate allows it,
    and permits the promotion of a withdrawn model.

    Raises:
        PromotionError: the champion is not the model that the gate compared with ``model``. Or ``model`` is
            withdrawn and ``is_override`` is false. Or the files of ``model`` were pruned. Or a later change undid the
            promotion of this request.
    """
    with transaction(engine) as connection:
        lock_promotions(connection)
        if _is_recorded(connection, request):
            _require_still_champion(connection, model)
            return False
        if gate_verdict_id is not None:
            _require_judged_champion(connection, gate_verdict_id)
        _require_promotable(connection, model, is_override=is_override)
        connection.execute(
            text("""
            insert into promotion (request_key, action, model_version_id, gate_verdict_id, is_override, actor, reason)
            values (:request_key, 'promote', :model, :verdict, :is_override, :actor, :reason)"""),
            asdict(request) | {"model": model.model_version_id, "verdict": gate_verdict_id, "is_override": is_override},
        )
        return True


def rollback(
    engine: Engine,
    store: ObjectStore,
    settings: Settings,
    request: PromotionRequest,
    *,
    to: ModelVersion | None = None,
    with_withdrawal: bool = False,
) -> Rollback:
    """Make an earlier champion the champion again, in one transaction.

    The target ``to`` must be a former champion. By default the target is the newest former champion that is not
    withdrawn and that no rollback undid. The function first downloads and loads the target's files. It changes nothing
    if the target is the champion already, or if the promotion history has the ``request_key`` already.
    ``with_withdrawal`` also withdraws the champion that the target replaces.

    Raises:
        PromotionError: there is no earlier champion, or ``to`` was never champion or is withdrawn. Or the target's
            files are missing or damaged. Or the promotion history changed while the files were checked.
    """
    with transaction(engine) as connection:
        is_recorded = _is_recorded(connection, request)
        step = None if is_recorded else _step(connection, to)
    if step is None:
        champion = to or find_champion(engine)
        if champion is None:
            raise PromotionError(
                "This rollback was done, and its model was withdrawn since. See `braintumor model list`."
            )
        return Rollback(champion=champion, replaced=None, is_recorded=is_recorded)
    current, target = (find_model(engine, str(number)) for number in step)
    try:
        require_whole(store, settings, target)
    except ModelIntegrityError as exc:
        raise PromotionError(f"{target.model_name} cannot predict, so nothing was changed. {exc}") from exc
    with transaction(engine) as connection:
        lock_promotions(connection)
        if _is_recorded(connection, request):  # another try of this request was faster
            return Rollback(champion=target, replaced=None)
        if _step(connection, to) != step:
            raise PromotionError(
                "The promotion history changed while the files were checked, so nothing was done. See `braintumor "
                "model champion`, and roll back again if it is still needed."
            )
        connection.execute(  # an override stays an override
            text("""
            insert into promotion (request_key, action, model_version_id, is_override, actor, reason)
            select :request_key, 'rollback', model_version_id, is_override, :actor, :reason
            from model_status where model_version_id = :model"""),
            asdict(request) | {"model": target.model_version_id},
        )
        if with_withdrawal:
            _append_withdrawal(connection, current, actor=request.actor, reason=request.reason)
    return Rollback(champion=find_model(engine, target.model_name), replaced=find_model(engine, current.model_name))


def withdraw(engine: Engine, model: ModelVersion, *, actor: str, reason: str) -> bool:
    """Withdraw a model, and return whether this call withdrew it.

    The model's current predictions that reviewers have not settled move up on the worklist. Only an override can
    promote the model again. If the model is the champion, there is no champion afterwards. Then no scoring run starts
    until a promotion or a rollback.
    """
    with transaction(engine) as connection:
        lock_promotions(connection)
        return _append_withdrawal(connection, model, actor=actor, reason=reason)


def lock_promotions(connection: Connection) -> None:
    """Take the promotion lock until the end of the transaction. Other promotion changes wait, but readers do not."""
    advisory_lock(connection, "promotions")


def _is_recorded(connection: Connection, request: PromotionRequest) -> bool:
    is_recorded: bool = connection.execute(
        text("select exists (select from promotion where request_key = :key)"), {"key": request.request_key}
    ).scalar_one()
    return is_recorded


def _require_still_champion(connection: Connection, model: ModelVersion) -> None:
    now = connection.scalar(text("select model_name from champion"))
    if now != model.model_name:
        raise PromotionError(
            f"This request promoted {model.model_name} before, and the champion is now {now or 'no model'}. One "
            f"verdict promotes once. To make it the champion again: `braintumor model rollback --to {model.model_name} "
            "--reason ...`."
        )


def _step(connection: Connection, to: ModelVersion | None) -> tuple[int, int] | None:
    """Return the numbers of the champion and of the rollback's target, ``None`` if ``to`` is the champion already."""
    rows = connection.execute(text("select action::text, model_version_id from promotion order by promotion_id")).all()
    withdrawn = set(connection.scalars(text("select model_version_id from withdrawn_model")))
    line = _line((row.action, row.model_version_id) for row in rows)
    if to is not None:
        _require_former(to, {row.model_version_id for row in rows}, withdrawn)
        return None if line[-1] == to.model_version_id else (line[-1], to.model_version_id)
    earlier = [number for number in line if number != line[-1] and number not in withdrawn]
    if not earlier:
        raise PromotionError(
            "There is no earlier champion to roll back to. Promote another model: `braintumor model promote NAME`, or "
            "withdraw this one: `braintumor model withdraw NAME`. Then no scoring run starts."
        )
    return line[-1], earlier[-1]


def _line(rows: Iterable[tuple[str, int]]) -> list[int]:
    """Return the model numbers of the champions, oldest first, without the champions that rollbacks undid.

    ``rows`` are pairs of an action (``promote`` or ``rollback``) and a model number, oldest first.
    """
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
            f"{to.model_name} was never champion, so it cannot be rolled back to. `braintumor model list` shows the "
            "former champions. A new model goes through the gate: `braintumor model promote NAME`."
        )
    if to.model_version_id in withdrawn:
        raise PromotionError(_withdrawn(to.model_name))


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
            f"The files of {model.model_name} were pruned, so it cannot predict. Train its recipe again: `braintumor "
            f"train --recipe {model.recipe_name}`."
        )
    if row.is_withdrawn and not is_override:
        raise PromotionError(_withdrawn(model.model_name))


def _withdrawn(name: str) -> str:
    return (
        f"{name} was withdrawn. `braintumor model show {name}` shows the reason. Train a new model instead. To undo "
        "the withdrawal: `braintumor model promote NAME --override --reason ...`. Every page then shows the override."
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
            f"{now or 'no model'}. Clear the task `gate` of its run to judge it again, or promote it with "
            "`braintumor model promote NAME --override --reason ...`."
        )
