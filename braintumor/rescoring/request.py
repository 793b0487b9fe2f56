"""What a rescore is asked for: which scans, which model answers them, who says so and why.

The champion may always be asked. Another model's answers stand only where somebody approved that, by name and with a
reason, and then only those of a model that has been champion or that the gate passed. All of it is written in one
transaction, before any work, and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.errors import RescoreError, ScoringRunError
from braintumor.registry.model_versions import ModelVersion, champion, find_champion, find_model
from braintumor.scoring.chunks import CHUNK_SIZE, MAX_CHUNKS
from braintumor.scoring.run import find_run
from braintumor.serving.backend import BackendName


@dataclass(frozen=True, kw_only=True)
class RescoreRequest:
    """Which standing answers to replace, and by whose.

    Attributes:
        of: models whose standing answers are meant; empty means those of every withdrawn model.
        model: who is to answer; ``None`` means the champion.
        is_approved: that a model which is not the champion may answer.
        since, until: of the answers that stand, those scored from the one time until before the other.
        limit: so many scans at most, those answered last first.
    """

    actor: str
    reason: str
    of: tuple[str, ...] = ()
    model: str | None = None
    is_approved: bool = False
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    @classmethod
    def of_form(cls, values: Mapping[str, Any], *, actor: str) -> Self:
        """The request that somebody made with a form: its fields by name, times in ISO 8601, empty ones ``None``."""
        return cls(
            actor=actor,
            reason=values["reason"],
            of=tuple(values["of"] or ()),
            model=values["model"],
            is_approved=values["approve"],
            since=_time(values["since"]),
            until=_time(values["until"]),
            limit=values["limit"],
        )


def _time(words: str | None) -> datetime | None:
    """A time of a form; one without a zone is UTC."""
    if not words:
        return None
    at = datetime.fromisoformat(words)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class RescoreRun:
    """One rescore as the ledger knows it: its model is pinned, its scans are taken up.

    ``count_matching``: scans that the request meant; those above ``count_asked`` wait for another rescore.
    """

    scoring_run_id: int
    run_key: str
    model: ModelVersion
    is_champion: bool
    actor: str
    reason: str
    count_matching: int
    count_asked: int

    def __str__(self) -> str:
        left = f" of {self.count_matching} that match" if self.count_matching > self.count_asked else ""
        standing = "the champion" if self.is_champion else f"not the champion, approved by {self.actor}"
        return f"{self.count_asked} scans{left} to be answered by {self.model.model_name} ({standing}): {self.reason}"


def open_rescore_run(
    engine: Engine, request: RescoreRequest, *, run_key: str, chunk_size: int = CHUNK_SIZE
) -> RescoreRun:
    """Pin the model and take up the scans; the same ``run_key`` finds the rescore that was asked for already.

    Raises:
        RescoreError: the model may not answer, or no reason was given.
        NoChampionError: nobody is champion, and no model was named.
        ModelIntegrityError: there is no model of a name.
        ScoringRunError: a night has this ``run_key``.
    """
    found = find_run(engine, run_key, kind="rescore")
    if found is not None:
        return load_rescore(engine, found)
    model = _answering(engine, request)
    of = [find_model(engine, name).model_name for name in request.of]
    with transaction(engine) as connection:
        opened = connection.scalar(
            text("""
            insert into scoring_run (run_key, kind, model_version_id, engine)
            values (:run_key, 'rescore', :model, :engine)
            on conflict (run_key) do nothing
            returning scoring_run_id"""),
            {"run_key": run_key, "model": model.model_version_id, "engine": BackendName.OPENVINO},
        )
        if opened is not None:
            _take_up(connection, opened, request, model=model, of=of, chunk_size=chunk_size)
    return load_rescore(engine, find_run(engine, run_key, kind="rescore"))


def load_rescore(engine: Engine, scoring_run_id: int | None) -> RescoreRun:
    """Find a rescore by the number of its run; ``None`` where asking for it failed.

    Raises:
        ScoringRunError: there is none of that number.
    """
    if scoring_run_id is None:
        raise ScoringRunError("No rescore was opened, so nothing was scored. See the log of the task `ask`.")
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select
                scoring_run_id, run_key, model_version_id, is_champion, actor, reason, count_matching, count_asked
            from rescore_run
            join scoring_run using (scoring_run_id)
            where scoring_run_id = :id"""),
            {"id": scoring_run_id},
        ).one_or_none()
    if row is None:
        raise ScoringRunError(f"There is no rescore of number {scoring_run_id}. Ask for one: `braintumor rescore`.")
    values = dict(row._mapping)
    return RescoreRun(model=find_model(engine, str(values.pop("model_version_id"))), **values)


def chunks(engine: Engine, run: RescoreRun) -> list[int]:
    """The chunk numbers of a rescore."""
    with transaction(engine) as connection:
        rows = connection.scalars(
            text("select distinct chunk_number from rescore where scoring_run_id = :run order by chunk_number"),
            {"run": run.scoring_run_id},
        )
        return list(rows)


def models_before(engine: Engine, run: RescoreRun) -> list[ModelVersion]:
    """The models whose answers stood on the scans that were taken up, newest first."""
    with transaction(engine) as connection:
        numbers = connection.scalars(
            text("""
            select distinct before_model_version_id from rescore
            where scoring_run_id = :run
            order by before_model_version_id desc"""),
            {"run": run.scoring_run_id},
        ).all()
    return [find_model(engine, str(number)) for number in numbers]


def age_warning(run: RescoreRun, before: list[ModelVersion]) -> str:
    """A sentence where the model is older than one whose answers it replaces; empty where it is not."""
    newer = [model.model_name for model in before if model.created_at > run.model.created_at]
    if not newer:
        return ""
    return f"{run.model.model_name} is older than {', '.join(newer)}: its answers replace those of a newer model."


def _answering(engine: Engine, request: RescoreRequest) -> ModelVersion:
    """The model that may answer as the request wants it."""
    if not request.reason.strip():
        raise RescoreError("A rescore changes what people are told, so the ledger keeps why: give a reason.")
    model = champion(engine) if request.model is None else find_model(engine, request.model)
    if not model.is_champion:
        _require_fit(engine, model)
        if not request.is_approved:
            now = find_champion(engine)
            raise RescoreError(
                f"{model.model_name} is not the champion ({now.model_name if now else 'nobody'} is), so its answers "
                "may not replace others unasked. Leave out the model, or approve it: `braintumor rescore --model "
                f"{model.model_name} --allow-non-champion --reason ...`."
            )
    return model


def _require_fit(engine: Engine, model: ModelVersion) -> None:
    """Refuse a model whose answers nobody would want to stand, approved or not."""
    if model.withdrawn_at is not None:
        raise RescoreError(
            f"{model.model_name} was withdrawn: what it answers goes straight back to the worklist. Ask another model."
        )
    if model.pruned_at is not None:
        raise RescoreError(f"The files of {model.model_name} were pruned, so it cannot answer. Ask another model.")
    if model.has_been_champion:
        return
    with transaction(engine) as connection:
        has_passed = connection.scalar(
            text("select exists (select from gate_verdict where model_version_id = :model and is_passed)"),
            {"model": model.model_version_id},
        )
    if not has_passed:
        raise RescoreError(
            f"{model.model_name} was never champion and the gate never passed it, so its answers may not stand. Ask "
            "the champion; what a candidate would say is shown by the flip preview of its run."
        )


def _take_up(
    connection: Connection,
    scoring_run_id: int,
    request: RescoreRequest,
    *,
    model: ModelVersion,
    of: list[str],
    chunk_size: int,
) -> None:
    """Record who asks for what, and the scans it comes to, divided into chunks."""
    asked_for = {"of": of, "since": request.since, "until": request.until, "limit": request.limit}
    most = chunk_size * MAX_CHUNKS
    connection.execute(
        text(_TAKE_UP),
        {
            "run": scoring_run_id,
            "model": model.model_version_id,
            "is_champion": model.is_champion,
            "actor": request.actor,
            "reason": request.reason,
            "is_named": bool(of),
            "of": of,
            "since": request.since,
            "until": request.until,
            "limit": most if request.limit is None else min(request.limit, most),
            "chunk_size": chunk_size,
            "asked_for": json.dumps({name: value for name, value in asked_for.items() if value}, default=str),
        },
    )


_TAKE_UP = """
    with matching as (
        select distinct on (current_prediction.scan_id)
            current_prediction.scan_id,
            current_prediction.model_version_id,
            current_prediction.scored_at
        from current_prediction
        left join withdrawn_model using (model_version_id)
        where current_prediction.model_version_id <> :model
          and (case when :is_named then current_prediction.model_name = any(cast(:of as text[]))
                    else withdrawn_model.model_version_id is not null end)
          and current_prediction.scored_at >= coalesce(cast(:since as timestamptz), '-infinity')
          and current_prediction.scored_at < coalesce(cast(:until as timestamptz), 'infinity')
        order by current_prediction.scan_id, current_prediction.scored_at desc
    ),
    numbered as (
        select scan_id, model_version_id, row_number() over (order by scored_at desc, scan_id desc) - 1 as place
        from matching
    ),
    taken as (
        select scan_id, model_version_id, place from numbered where place < :limit
    ),
    opened as (
        insert into rescore_run (
            scoring_run_id, is_champion, actor, reason, asked_for, count_matching, count_asked)
        select
            :run, :is_champion, :actor, :reason, cast(:asked_for as jsonb),
            (select count(*) from matching), (select count(*) from taken)
    )
    insert into rescore (scoring_run_id, scan_id, chunk_number, before_model_version_id)
    select :run, scan_id, place / :chunk_size, model_version_id from taken"""
"""Into both tables at once, from one look at what matches."""
