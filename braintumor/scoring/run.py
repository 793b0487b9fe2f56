"""A scoring run as the ledger knows it: opened once, with the champion pinned, and found again by every task."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, text

from braintumor.database import transaction
from braintumor.errors import ScoringRunError
from braintumor.objectstore import S3Uri
from braintumor.registry import ModelVersion, champion, find_model
from braintumor.serving.engine import ENGINE


@dataclass(frozen=True, kw_only=True)
class ScoringRun:
    """One night, or one manual run."""

    scoring_run_id: int
    run_key: str
    scans: S3Uri
    model: ModelVersion


def open_run(engine: Engine, *, run_key: str, scans: S3Uri) -> ScoringRun:
    """Open a run and pin the champion; the same ``run_key`` finds the run that is open already.

    Raises:
        NoChampionError: nobody has been promoted, so nothing was opened.
    """
    model = champion(engine)
    with transaction(engine) as connection:
        connection.execute(
            text("""
            insert into scoring_run (run_key, scans_uri, model_version_id, engine)
            values (:run_key, :scans, :model, :engine)
            on conflict (run_key) do nothing"""),
            {"run_key": run_key, "scans": str(scans), "model": model.model_version_id, "engine": ENGINE},
        )
        found: int = connection.execute(
            text("select scoring_run_id from scoring_run where run_key = :run_key"), {"run_key": run_key}
        ).scalar_one()
    return load_run(engine, found)


def load_run(engine: Engine, scoring_run_id: int) -> ScoringRun:
    """Find an open or finished night.

    Raises:
        ScoringRunError: there is none of that number.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text("""
            select run_key, scans_uri, model_version_id from scoring_run
            where scoring_run_id = :id and kind = 'night'"""),
            {"id": scoring_run_id},
        ).one_or_none()
    if row is None:
        raise ScoringRunError(f"There is no night of number {scoring_run_id}. Start one: `braintumor score`.")
    return ScoringRun(
        scoring_run_id=scoring_run_id,
        run_key=row.run_key,
        scans=S3Uri.parse(row.scans_uri),
        model=find_model(engine, str(row.model_version_id)),
    )
