"""Model versions: which exist, which one answers, and their files. Who may answer is changed in ``ledger``.

Artifacts lie in S3, facts in Postgres. A model version is registered last, when all its files are stored, so nobody
can find half a model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.errors import ModelIntegrityError, NoChampionError, ObjectMissingError
from braintumor.registry import model_cache
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from braintumor.serving.artifact import Manifest, serving_sha256s, sha256_of, verify
from braintumor.serving.backend import LoadedModel

_SECTION = "docs/runbook.md#no_champion"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One immutable trained artifact, as the registry knows it, and where it stands in the ledger.

    ``is_override`` says that it last became champion although the gate had not passed it, or although withdrawn.
    """

    model_version_id: int
    model_name: str
    backbone: str
    recipe_name: str
    recipe_override: dict[str, Any]
    initialization: str
    snapshot_id: str
    image_size: int
    preprocessing: str
    precision: str
    artifact_uri: str
    artifact_sha256s: dict[str, str]
    created_at: datetime
    is_champion: bool
    has_been_champion: bool
    is_override: bool
    withdrawn_at: datetime | None
    pruned_at: datetime | None

    @property
    def standing(self) -> str:
        """Where it stands, for people: such as ``champion, overridden``; empty for one that was never promoted."""
        words = {
            "champion": self.is_champion,
            "former champion": self.has_been_champion and not self.is_champion,
            "overridden": self.is_override,
            "withdrawn": self.withdrawn_at is not None,
            "pruned": self.pruned_at is not None,
        }
        return ", ".join(word for word, holds in words.items() if holds)


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
    recipe_override: dict[str, Any] = field(default_factory=dict)


_SELECT = """
    select
        model_version.model_version_id,
        model_version.model_name,
        model_version.backbone,
        training_run.recipe_name,
        training_run.recipe_override,
        training_run.initialization,
        training_run.snapshot_id,
        model_version.image_size,
        model_version.preprocessing,
        model_version.precision,
        model_version.artifact_uri,
        model_version.artifact_sha256s,
        model_version.created_at,
        model_status.is_champion,
        model_status.has_been_champion,
        model_status.is_override,
        model_status.withdrawn_at,
        model_status.pruned_at
    from model_version
    join training_run using (training_run_id)
    join model_status using (model_version_id)
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
            text(_SELECT + "where model_version.model_name = :name or model_version_id::text = :name"), {"name": name}
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
        NoChampionError: nobody has been promoted yet, or the last one who was is withdrawn.
    """
    found = find_champion(engine)
    if found is None:
        raise NoChampionError(_no_champion(engine))
    return found


def _no_champion(engine: Engine) -> str:
    with transaction(engine) as connection:
        withdrawn = connection.execute(
            text("""
            select model_name, reason from withdrawn_model
            where model_version_id = (select model_version_id from promotion order by promotion_id desc limit 1)""")
        ).one_or_none()
    if withdrawn is not None:
        return (
            f"The champion {withdrawn.model_name} was withdrawn ({withdrawn.reason}), so nothing can be scored. Go "
            "back to an earlier one with `braintumor model rollback --reason ...`, or promote another model. "
            f"What to do: {_SECTION}."
        )
    return (
        "There is no champion yet, so nothing can be scored. Trigger the DAG weekly_retrain, or promote a trained "
        f"model: `braintumor model promote NAME --reason ...`. What to do: {_SECTION}."
    )


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
    artifacts = models_uri / f"{manifest.name}/"
    sha256s = store.upload_folder(folder, artifacts)
    with transaction(engine) as connection:
        training_run_id = _record_training(connection, manifest, training)
        connection.execute(
            text("""
            insert into model_version (
                model_name, training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
                artifact_uri, artifact_sha256s, temperature, low_confidence_below, near_tie_below,
                out_of_distribution_above, parent_model_version_id)
            values (
                :model_name, :training_run_id, :backbone, :precision, :image_size, :preprocessing, :count_parameter,
                :artifact_uri, cast(:artifact_sha256s as jsonb), :temperature, cast(:low_confidence_below as jsonb),
                :near_tie_below, :out_of_distribution_above, :parent)
            on conflict (training_run_id, precision) do nothing"""),
            {
                "model_name": manifest.name,
                "training_run_id": training_run_id,
                "backbone": manifest.backbone,
                "precision": manifest.precision,
                "image_size": manifest.image_size,
                "preprocessing": manifest.preprocessing,
                "count_parameter": manifest.count_parameter,
                "artifact_uri": str(artifacts),
                "artifact_sha256s": json.dumps(sha256s),
                "temperature": manifest.temperature,
                "low_confidence_below": json.dumps(manifest.low_confidence_below),
                "near_tie_below": manifest.near_tie_below,
                "out_of_distribution_above": manifest.out_of_distribution_above,
                "parent": parent and parent.model_version_id,
            },
        )
        row = connection.execute(
            text(_SELECT + "where training_run_id = :id and precision = :precision"),
            {"id": training_run_id, "precision": manifest.precision},
        ).one()
        return _version(row)


def load_model(store: ObjectStore, settings: Settings, model: ModelVersion) -> LoadedModel:
    """Fetch the files that scoring needs into the cache, check them, compile the graph.

    Raises:
        ModelIntegrityError: a file is missing or is not what the registry says, or the model was pruned.
    """
    return LoadedModel.load(fetch_model(store, settings, model), sha256s=serving_sha256s(model.artifact_sha256s))


def fetch_model(store: ObjectStore, settings: Settings, model: ModelVersion, *, also: Sequence[str] = ()) -> Path:
    """The folder in the cache with the files that scoring needs, checked; what is not there, or not whole, is fetched.

    ``also`` names further registered files.

    Raises:
        ModelIntegrityError: a file is missing or is not what the registry says, or the model was pruned.
    """
    _require_files(model)
    folder = model_cache.model_folder(settings, model.model_name)
    wanted = serving_sha256s(model.artifact_sha256s) | {name: model.artifact_sha256s[name] for name in also}
    if not _is_whole(folder, wanted):
        model_cache.delete_unused(settings)
        _fetch(store, S3Uri.parse(model.artifact_uri), folder, wanted)
    return folder


def require_whole(store: ObjectStore, settings: Settings, model: ModelVersion) -> None:
    """Fetch the files that scoring needs from S3, whatever the cache holds, and load them.

    Raises:
        ModelIntegrityError: as of ``load_model``.
    """
    with TemporaryDirectory(prefix="braintumor-whole-") as folder:
        load_model(store, replace(settings, cache_folder=folder), model)


def stored_files(store: ObjectStore, model: ModelVersion) -> list[ObjectEntry]:
    """The model's registered files that are in S3; reports and pictures beside them do not count."""
    folder = S3Uri.parse(model.artifact_uri)
    return [entry for entry in store.list(folder) if entry.key.removeprefix(folder.key) in model.artifact_sha256s]


def fetch_artifact(store: ObjectStore, model: ModelVersion, folder: Path) -> None:
    """Fetch every registered file of a model as it is stored now into ``folder``, and check them.

    Raises:
        ModelIntegrityError: a file is missing or is not what the registry says, or the model was pruned.
    """
    _require_files(model)
    _fetch(store, S3Uri.parse(model.artifact_uri), folder, model.artifact_sha256s)


def _require_files(model: ModelVersion) -> None:
    if model.pruned_at is not None:
        raise ModelIntegrityError(
            f"The files of {model.model_name} were pruned on {model.pruned_at:%Y-%m-%d}: it never answered, and was "
            "old. Its facts and report are kept. To have such a model again: "
            f"`braintumor train --recipe {model.recipe_name}`."
        )


def _is_whole(folder: Path, sha256s: dict[str, str]) -> bool:
    return all((folder / name).is_file() and sha256_of(folder / name) == digest for name, digest in sha256s.items())


def _fetch(store: ObjectStore, artifacts: S3Uri, folder: Path, sha256s: dict[str, str]) -> None:
    """Download next to the cache entry, check, and put each file in place by renaming."""
    try:
        with model_cache.arriving(folder) as place:
            for name in sha256s:
                (place / name).write_bytes(store.read(artifacts / name))
            verify(place, sha256s)
            for name in sha256s:
                (place / name).replace(folder / name)
    except ObjectMissingError as exc:
        raise ModelIntegrityError(
            f"A file of the model at {artifacts} is gone. Restore it from a backup, or promote another model."
        ) from exc


def _record_training(connection: Connection, manifest: Manifest, training: TrainingRecord) -> int:
    connection.execute(
        text("""
        insert into training_run (
            run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version, library_versions,
            device, seconds, grouped_accuracy, naive_accuracy, initial_weights_sha256, recipe_override)
        values (
            :run_key, :recipe_name, cast(:recipe as jsonb), :snapshot_id, :initialization, cast(:history as jsonb),
            :code_version, cast(:library_versions as jsonb), :device, :seconds,
            :grouped_accuracy, :naive_accuracy, :initial_weights_sha256, cast(:recipe_override as jsonb))
        on conflict (run_key, recipe_name) do nothing"""),
        {
            "run_key": training.run_key,
            "recipe_name": manifest.recipe,
            "recipe": json.dumps(training.recipe),
            "snapshot_id": manifest.snapshot_id,
            "initialization": manifest.initialization,
            "history": json.dumps(training.history),
            "code_version": training.code_version,
            "library_versions": json.dumps(training.library_versions),
            "device": training.device,
            "seconds": training.seconds,
            "grouped_accuracy": training.grouped_accuracy,
            "naive_accuracy": training.naive_accuracy,
            "initial_weights_sha256": training.initial_weights_sha256,
            "recipe_override": json.dumps(training.recipe_override),
        },
    )
    found: int = connection.execute(
        text("select training_run_id from training_run where run_key = :run_key and recipe_name = :recipe"),
        {"run_key": training.run_key, "recipe": manifest.recipe},
    ).scalar_one()
    return found


def _version(row: Row[Any]) -> ModelVersion:
    return ModelVersion(**row._mapping)
