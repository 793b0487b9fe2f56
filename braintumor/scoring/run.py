"""A scoring run as the ledger knows it: opened once, with the champion pinned, and found again by every task."""

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
    """One night, or one manual run. Models and engine stay what they were when it was opened.

    ``second`` is asked beside ``model``, and where it names another class a person should look.
    """

    scoring_run_id: int
    run_key: str
    scans: ScanPrefixes
    model: ModelVersion
    engine: BackendName
    second: ModelVersion | None = None


def open_run(
    engine: Engine, *, run_key: str, scans: ScanPrefixes, scored_by: BackendName, second: str | None = None
) -> ScoringRun:
    """Open a run and pin the champion, the engine and a second model; one ``run_key`` finds one run, as it was opened.

    Raises:
        ScoringRunError: the key is that of a rescore.
        NoChampionError: nobody has been promoted, so nothing was opened.
        ConfigurationError: the engine does not run such a model, or the second one cannot be asked beside it.
        ModelIntegrityError: there is no model of that name.
    """
    found = find_run(engine, run_key, kind="night")
    if found is not None:
        return load_run(engine, found)
    model = champion(engine)
    require_runnable(model, scored_by)
    other = None if second is None else find_model(engine, second)
    if other is not None:
        require_comparable(model, other)
        require_runnable(other, scored_by)
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
                "engine": scored_by,
                "second": other and other.model_version_id,
            },
        )
    opened = find_run(engine, run_key, kind="night")  # by whoever of two at the same time
    assert opened is not None
    return load_run(engine, opened)


def find_run(engine: Engine, run_key: str, *, kind: Literal["night", "rescore"]) -> int | None:
    """The number of the run with that key, if there is one.

    Raises:
        ScoringRunError: there is one of the other kind.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("select scoring_run_id, kind from scoring_run where run_key = :run_key"), {"run_key": run_key}
        ).one_or_none()
    if row is not None and row.kind != kind:
        raise ScoringRunError(f"The run key {run_key!r} is that of a {row.kind}. Choose another key.")
    return None if row is None else int(row.scoring_run_id)


def load_run(engine: Engine, scoring_run_id: int) -> ScoringRun:
    """Find an open or finished night.

    Raises:
        ScoringRunError: there is none of that number.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select run_key, scans_uri, model_version_id, engine, second_model_version_id as second from scoring_run
            where scoring_run_id = :id and kind = 'night'"""),
            {"id": scoring_run_id},
        ).one_or_none()
    if row is None:
        raise ScoringRunError(f"There is no night of number {scoring_run_id}. Start one: `braintumor score`.")
    return ScoringRun(
        scoring_run_id=scoring_run_id,
        run_key=row.run_key,
        scans=ScanPrefixes.parse(row.scans_uri),
        model=find_model(engine, str(row.model_version_id)),
        engine=BackendName(row.engine),
        second=None if row.second is None else find_model(engine, str(row.second)),
    )
