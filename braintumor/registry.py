"""Model versions and the promotion ledger: which models exist, which one answers, and why.

Artefacts lie in S3, facts in Postgres. A model version is registered last, when all its files are stored, so nobody
can find half a model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor.database import transaction
from braintumor.errors import ModelIntegrityError, NoChampionError, ObjectMissingError, PromotionError
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.serving.artefact import Manifest, serving_sha256s, sha256_of, verify
from braintumor.serving.engine import LoadedModel
from braintumor.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One immutable trained artefact, as the registry knows it."""

    model_version_id: int
    model_name: str
    backbone: str
    recipe_name: str
    initialisation: str
    snapshot_id: str
    image_size: int
    preprocessing: str
    precision: str
    artefact_uri: str
    artefact_sha256s: dict[str, str]
    created_at: datetime
    is_champion: bool


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Where a model came from: one training of one recipe.

    ``run_key`` names the retrain run, so that a retry finds what its predecessor registered.
    """

    run_key: str
    recipe: dict[str, Any]
    history: dict[str, list[float]]
    code_version: str
    library_versions: dict[str, str]
    device: str
    seconds: float
    grouped_accuracy: float | None = None
    naive_accuracy: float | None = None
    initial_weights_sha256: str | None = None


_SELECT = """
    select
        model_version.model_version_id,
        model_version.model_name,
        model_version.backbone,
        training_run.recipe_name,
        training_run.initialisation,
        training_run.snapshot_id,
        model_version.image_size,
        model_version.preprocessing,
        model_version.precision,
        model_version.artefact_uri,
        model_version.artefact_sha256s,
        model_version.created_at,
        model_version.model_version_id is not distinct from (select model_version_id from champion) as is_champion
    from model_version
    join training_run using (training_run_id)
"""


def list_models(engine: Engine) -> list[ModelVersion]:
    """Every model version, newest first."""
    with transaction(engine) as connection:
        return [_version(row) for row in connection.execute(text(_SELECT + "order by model_version_id desc"))]


def find_model(engine: Engine, name: str) -> ModelVersion:
    """A model version by its name, or by its number.

    Raises:
        ModelIntegrityError: there is none.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            text(_SELECT + "where model_name = :name or model_version_id::text = :name"), {"name": name}
        ).one_or_none()
    if row is None:
        raise ModelIntegrityError(f"There is no model {name!r}. `braintumor model list` shows what there is.")
    return _version(row)


def find_champion(engine: Engine) -> ModelVersion | None:
    """The model that answers now, or ``None`` before the first promotion."""
    with transaction(engine) as connection:
        row = connection.execute(
            text(_SELECT + "where model_version_id = (select model_version_id from champion)")
        ).one_or_none()
    return None if row is None else _version(row)


def champion(engine: Engine) -> ModelVersion:
    """The model that answers now.

    Raises:
        NoChampionError: nobody has been promoted yet.
    """
    found = find_champion(engine)
    if found is None:
        raise NoChampionError(
            "There is no champion yet, so nothing can be scored. Trigger the DAG weekly_retrain, or promote a trained "
            "model: `braintumor model promote NAME --reason ...`."
        )
    return found


def trained_in(engine: Engine, run_key: str) -> list[ModelVersion]:
    """The models of one retrain run, in the order of their recipes' names."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text(_SELECT + "where training_run.run_key = :run_key order by recipe_name, precision"),
            {"run_key": run_key},
        )
        return [_version(row) for row in rows]


def training_of(engine: Engine, model: ModelVersion) -> TrainingRecord:
    """The training that a model came from."""
    columns = ", ".join(f"training_run.{field.name}" for field in fields(TrainingRecord))
    with transaction(engine) as connection:
        row = connection.execute(
            text(f"""
            select {columns} from model_version join training_run using (training_run_id)
            where model_version_id = :id"""),
            {"id": model.model_version_id},
        ).one()
    return TrainingRecord(**row._mapping)


def register(
    engine: Engine,
    store: ObjectStore,
    *,
    folder: Path,
    manifest: Manifest,
    training: TrainingRecord,
    models_uri: S3Uri,
    parent: ModelVersion | None = None,
) -> ModelVersion:
    """Store a model folder, then record it with its training, and what it is an export of, in one transaction."""
    artefacts = models_uri / f"{manifest.name}/"
    sha256s = store.upload_folder(folder, artefacts)
    with transaction(engine) as connection:
        training_run_id = _record_training(connection, manifest, training)
        connection.execute(
            text("""
            insert into model_version (
                model_name, training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
                artefact_uri, artefact_sha256s, temperature, low_confidence_below, near_tie_below,
                parent_model_version_id)
            values (
                :model_name, :training_run_id, :backbone, :precision, :image_size, :preprocessing, :count_parameter,
                :artefact_uri, cast(:artefact_sha256s as jsonb), :temperature, :low_confidence_below, :near_tie_below,
                :parent)
            on conflict (training_run_id, precision) do nothing"""),
            {
                "model_name": manifest.name,
                "training_run_id": training_run_id,
                "backbone": manifest.backbone,
                "precision": manifest.precision,
                "image_size": manifest.image_size,
                "preprocessing": manifest.preprocessing,
                "count_parameter": manifest.count_parameter,
                "artefact_uri": str(artefacts),
                "artefact_sha256s": json.dumps(sha256s),
                "temperature": manifest.temperature,
                "low_confidence_below": manifest.low_confidence_below,
                "near_tie_below": manifest.near_tie_below,
                "parent": parent and parent.model_version_id,
            },
        )
        row = connection.execute(
            text(_SELECT + "where training_run_id = :id and precision = :precision"),
            {"id": training_run_id, "precision": manifest.precision},
        ).one()
        return _version(row)


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
        PromotionError: the verdict was passed against somebody who is champion no longer.
    """
    with transaction(engine) as connection:
        connection.execute(text("lock table promotion in share row exclusive mode"))  # the champion stays who it is
        if connection.scalar(text("select exists (select from promotion where request_key = :k)"), {"k": request_key}):
            return False
        if gate_verdict_id is not None:
            _require_judged_champion(connection, gate_verdict_id)
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


def load_model(store: ObjectStore, settings: Settings, model: ModelVersion) -> LoadedModel:
    """Fetch the files that scoring needs into the cache, check them, compile the graph.

    Raises:
        ModelIntegrityError: a file is missing or is not what the registry says.
    """
    return LoadedModel.load(fetch_model(store, settings, model), sha256s=serving_sha256s(model.artefact_sha256s))


def fetch_model(store: ObjectStore, settings: Settings, model: ModelVersion) -> Path:
    """The folder in the cache with the files that scoring needs, checked; what is not there, or not whole, is fetched.

    Raises:
        ModelIntegrityError: a file is missing or is not what the registry says.
    """
    folder = Path(settings.require("cache_folder")).expanduser() / model.model_name
    wanted = serving_sha256s(model.artefact_sha256s)
    if not _is_whole(folder, wanted):
        _fetch(store, S3Uri.parse(model.artefact_uri), folder, wanted)
    return folder


def _is_whole(folder: Path, sha256s: dict[str, str]) -> bool:
    return all((folder / name).is_file() and sha256_of(folder / name) == digest for name, digest in sha256s.items())


def _fetch(store: ObjectStore, artefacts: S3Uri, folder: Path, sha256s: dict[str, str]) -> None:
    """Download next to the cache entry, check, and put each file in place by renaming."""
    folder.mkdir(parents=True, exist_ok=True)
    arriving = Path(mkdtemp(prefix=".arriving-", dir=folder.parent))
    try:
        for name in sha256s:
            (arriving / name).write_bytes(store.read(artefacts / name))
        verify(arriving, sha256s)
        for name in sha256s:
            (arriving / name).replace(folder / name)
    except ObjectMissingError as exc:
        raise ModelIntegrityError(
            f"A file of the model at {artefacts} is gone. Restore it from a backup, or promote another model."
        ) from exc
    finally:
        for left in arriving.iterdir():
            left.unlink()
        arriving.rmdir()


def _record_training(connection: Connection, manifest: Manifest, training: TrainingRecord) -> int:
    connection.execute(
        text("""
        insert into training_run (
            run_key, recipe_name, recipe, snapshot_id, initialisation, history, code_version, library_versions,
            device, seconds, grouped_accuracy, naive_accuracy, initial_weights_sha256)
        values (
            :run_key, :recipe_name, cast(:recipe as jsonb), :snapshot_id, :initialisation, cast(:history as jsonb),
            :code_version, cast(:library_versions as jsonb), :device, :seconds,
            :grouped_accuracy, :naive_accuracy, :initial_weights_sha256)
        on conflict (run_key, recipe_name) do nothing"""),
        {
            "run_key": training.run_key,
            "recipe_name": manifest.recipe,
            "recipe": json.dumps(training.recipe),
            "snapshot_id": manifest.snapshot_id,
            "initialisation": manifest.initialisation,
            "history": json.dumps(training.history),
            "code_version": training.code_version,
            "library_versions": json.dumps(training.library_versions),
            "device": training.device,
            "seconds": training.seconds,
            "grouped_accuracy": training.grouped_accuracy,
            "naive_accuracy": training.naive_accuracy,
            "initial_weights_sha256": training.initial_weights_sha256,
        },
    )
    found: int = connection.execute(
        text("select training_run_id from training_run where run_key = :run_key and recipe_name = :recipe"),
        {"run_key": training.run_key, "recipe": manifest.recipe},
    ).scalar_one()
    return found


def _version(row: Row[Any]) -> ModelVersion:
    return ModelVersion(**row._mapping)
