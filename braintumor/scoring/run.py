"""Open a scoring run once with a pinned champion, and load the run in every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, text

from braintumor.db.database import transaction
from braintumor.errors import ScoringRunError
from braintumor.registry.model_versions import ModelVersion, champion, find_model
from braintumor.scoring.model_loading import require_comparable, require_runnable
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.serving.backend import BackendName


@dataclass(frozen=True, kw_only=True)
class ScoringRun:
    """Hold a nightly or manual scoring run with its pinned models and backend.

    ``model`` is the champion at the start of the run. If the ``second`` model predicts another class than ``model``,
    the frame is put on the worklist.
    """

    scoring_run_id: int
    run_key: str
    scans: ScanPrefixes
    model: ModelVersion
    backend: BackendName
    second: ModelVersion | None = None


def open_run(
    engine: Engine, *, run_key: str, scans: ScanPrefixes, backend: BackendName, second: str | None = None
) -> ScoringRun:
    """Open a run that pins the current champion, the backend and the second model, and return the run.

    If a run with this ``run_key`` exists, the function returns that run unchanged.

    Raises:
        ScoringRunError: a rescore has this key.
        NoChampionError: there is no champion. No run was opened.
        ConfigurationError: the backend cannot run a model, or the second model needs other inputs.
        ModelIntegrityError: no model has the name ``second``.
    """
    run_id = find_run(engine, run_key, kind="night")
    if run_id is not None:
        return load_run(engine, run_id)
    model = champion(engine)
    require_runnable(model, backend)
    other = None if second is None else find_model(engine, second)
    if other is not None:
        require_comparable(model, other)
        require_runnable(other, backend)
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into scoring_run (run_key, scans_uri, model_version_id, engine, second_model_version_id)
            values (:run_key, :scans, :model, :engine, :second)
            on conflict (run_key) do nothing"""),
            {
                "run_key": run_key,
                "scans": str(scans),
                "model": model.model_version_id,
                "engine": backend,
                "second": other and other.model_version_id,
            },
        )
    run_id = find_run(engine, run_key, kind="night")  # another process can have opened it at the same time
    assert run_id is not None
    return load_run(engine, run_id)


def find_run(engine: Engine, run_key: str, *, kind: Literal["night", "rescore"]) -> int | None:
    """Return the ID of the run with this key, or ``None``. Raises ``ScoringRunError`` if the run is of another kind."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("select scoring_run_id, kind from scoring_run where run_key = :run_key"), {"run_key": run_key}
        ).one_or_none()
    if row is not None and row.kind != kind:
        other = "scoring run" if row.kind == "night" else "rescore"
        raise ScoringRunError(f"The run key {run_key!r} is that of a {other}. Choose another key.")
    return None if row is None else int(row.scoring_run_id)


def load_run(engine: Engine, scoring_run_id: int) -> ScoringRun:
    """Return the open or finished scoring run with this ID. Raises ``ScoringRunError`` if it does not exist."""
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select run_key, scans_uri, model_version_id, engine, second_model_version_id as second from scoring_run
            where scoring_run_id = :id and kind = 'night'"""),
            {"id": scoring_run_id},
        ).one_or_none()
    if row is None:
        raise ScoringRunError(f"There is no scoring run {scoring_run_id}. Start one: `braintumor score`.")
    return ScoringRun(
        scoring_run_id=scoring_run_id,
        run_key=row.run_key,
        scans=ScanPrefixes.parse(row.scans_uri),
        model=find_model(engine, str(row.model_version_id)),
        backend=BackendName(row.engine),
        second=None if row.second is None else find_model(engine, str(row.second)),
    )
