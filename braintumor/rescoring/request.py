"""Open a rescore: select the scans and the model, and record the requester and the reason.

The champion may always rescore. Any other model needs an approval of the requester, and must have been champion or have
passed the gate. One transaction records the request before any scoring. The recorded request never changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Engine, text

from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import RescoreError, ScoringRunError
from braintumor.registry.model_versions import ModelVersion, champion, find_champion, find_model
from braintumor.scoring.chunks import CHUNK_SIZE, MAX_CHUNKS
from braintumor.scoring.run import find_run
from braintumor.serving.backend import BackendName


@dataclass(frozen=True, kw_only=True)
class RescoreRequest:
    """Describe the current predictions to replace, and the model that replaces them.

    Attributes:
        of: names of the models whose current predictions are replaced. Empty means every withdrawn model.
        model: name of the model that scores the scans. ``None`` means the champion.
        is_approved: whether a model that is not the champion may score.
        since: only current predictions scored at this time or later.
        until: only current predictions scored before this time.
        limit: maximum number of scans, the most recently scored first.
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
        """Return a request with the values of the DAG's form, in which times are ISO 8601 texts."""
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


def _time(value: str | None) -> datetime | None:
    """Return the time in an ISO 8601 text, or ``None`` for an empty text. A time without a zone is in UTC."""
    if not value:
        return None
    time = datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class RescoreRun:
    """Hold a rescore with its pinned model.

    ``count_matching`` is the number of scans that match the request. ``count_asked`` of them are selected for scoring.
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
        of_matching = f" of {self.count_matching} that match" if self.count_matching > self.count_asked else ""
        status = "the champion" if self.is_champion else f"not the champion, approved by {self.actor}"
        return (
            f"{self.count_asked} scans{of_matching} to be scored by {self.model.model_name} ({status}): {self.reason}"
        )


def open_rescore_run(
    engine: Engine, request: RescoreRequest, *, run_key: str, chunk_size: int = CHUNK_SIZE
) -> RescoreRun:
    """Open a rescore that pins the model and selects the scans in chunks of ``chunk_size``, and return it.

    If a rescore with this ``run_key`` exists, the function returns that rescore unchanged.

    Raises:
        RescoreError: the model may not rescore, or the reason is empty.
        NoChampionError: there is no champion, and the request names no model.
        ModelIntegrityError: no model has a requested name.
        ScoringRunError: a scoring run has this ``run_key``.
    """
    run_id = find_run(engine, run_key, kind="rescore")
    if run_id is not None:
        return load_rescore(engine, run_id)
    model = _rescoring_model(engine, request)
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
            _select_scans(connection, opened, request, model=model, of=of, chunk_size=chunk_size)
    return load_rescore(engine, find_run(engine, run_key, kind="rescore"))


def load_rescore(engine: Engine, scoring_run_id: int | None) -> RescoreRun:
    """Return the rescore with this run ID.

    Raises ``ScoringRunError`` if there is no such rescore, or if the ID is ``None`` because no rescore was opened.
    """
    if scoring_run_id is None:
        raise ScoringRunError("No rescore was opened, so nothing was scored. See the log of the first task.")
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
        raise ScoringRunError(f"There is no rescore {scoring_run_id}. Request one: `braintumor rescore`.")
    values = dict(row._mapping)
    return RescoreRun(model=find_model(engine, str(values.pop("model_version_id"))), **values)


def chunks(engine: Engine, run: RescoreRun) -> list[int]:
    """Return the chunk numbers of a rescore."""
    with transaction(engine) as connection:
        rows = connection.scalars(
            text("select distinct chunk_number from rescore where scoring_run_id = :run order by chunk_number"),
            {"run": run.scoring_run_id},
        )
        return list(rows)


def models_before(engine: Engine, run: RescoreRun) -> list[ModelVersion]:
    """Return the models whose predictions the rescore replaces, newest first."""
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
    """Return a warning if the model is older than one of the replaced models ``before``, otherwise an empty text."""
    newer = [model.model_name for model in before if model.created_at > run.model.created_at]
    if not newer:
        return ""
    return f"{run.model.model_name} is older than {', '.join(newer)}: its predictions replace those of a newer model."


def _rescoring_model(engine: Engine, request: RescoreRequest) -> ModelVersion:
    """Return the model that the request names, or the champion. Raises ``RescoreError`` if it may not rescore."""
    if not request.reason.strip():
        raise RescoreError("A rescore changes current predictions, so its reason is recorded. Give a reason.")
    model = champion(engine) if request.model is None else find_model(engine, request.model)
    if not model.is_champion:
        _require_trusted(engine, model)
        if not request.is_approved:
            now = find_champion(engine)
            raise RescoreError(
                f"{model.model_name} is not the champion ({now.model_name if now else 'no model'} is), so its "
                "predictions need an approval. Leave out the model, or approve it: `braintumor rescore --model "
                f"{model.model_name} --allow-non-champion --reason ...`."
            )
    return model


def _require_trusted(engine: Engine, model: ModelVersion) -> None:
    """Check that a model may rescore with an approval. Raises ``RescoreError`` if it may not."""
    if model.withdrawn_at is not None:
        raise RescoreError(f"{model.model_name} was withdrawn. Use another model.")
    if model.pruned_at is not None:
        raise RescoreError(f"The files of {model.model_name} were pruned, so it cannot score. Use another model.")
    if model.has_been_champion:
        return
    with transaction(engine) as connection:
        has_passed = connection.scalar(
            text("select exists (select from gate_verdict where model_version_id = :model and is_passed)"),
            {"model": model.model_version_id},
        )
    if not has_passed:
        raise RescoreError(
            f"{model.model_name} was never champion and the gate never passed it, so its predictions may not become "
            "current. Use the champion. The flip preview of a candidate's run shows the candidate's predictions."
        )


def _select_scans(
    connection: Connection,
    scoring_run_id: int,
    request: RescoreRequest,
    *,
    model: ModelVersion,
    of: list[str],
    chunk_size: int,
) -> None:
    """Record the request and its scans, in chunks of ``chunk_size``. ``model`` predicts them again."""
    asked_for = {"of": of, "since": request.since, "until": request.until, "limit": request.limit}
    max_scans = chunk_size * MAX_CHUNKS
    connection.execute(
        statement("rescoring/select_scans"),
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
            "limit": max_scans if request.limit is None else min(request.limit, max_scans),
            "chunk_size": chunk_size,
            "asked_for": json.dumps({name: value for name, value in asked_for.items() if value}, default=str),
        },
    )
