"""Find, register and load model versions. The module ``promotions`` changes the champion.

A model's files are in S3. Its row in ``model_version`` is inserted after all files are uploaded, so a half-uploaded
model is never visible.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from braintumor.config.settings import Settings
from braintumor.db.database import transaction
from braintumor.db.statements import statement
from braintumor.errors import ModelIntegrityError, NoChampionError, ObjectMissingError
from braintumor.progress import progress
from braintumor.registry import model_cache
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri
from braintumor.serving.artifact import Manifest, serving_sha256s, sha256_of, verify
from braintumor.serving.backend import LoadedModel
from braintumor.serving.prediction_set import SetThresholds

_SECTION = "docs/runbook.md#no_champion"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One immutable trained model in the registry, with its status in the promotion history.

    Attributes:
        recipe_override: values of the training that differ from the recipe file, by key.
        initialization: origin of the initial weights: ``imagenet``, ``file`` or ``random``.
        image_size: S, height and width of a frame in pixels.
        artifact_uri: S3 prefix of the model's files.
        artifact_sha256s: hex sha256 of each registered file, by file name.
        is_override: whether the model last became champion by an override, without a passed gate or after a withdrawal.
        pruned_at: time at which the model's files were deleted. ``None`` if the files are kept.
        prediction_sets: thresholds of the prediction sets. ``None`` if the model has no prediction sets.
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
    prediction_sets: SetThresholds | None

    @property
    def standing(self) -> str:
        """Return the status as display text, such as ``champion, overridden``. It is empty if no status applies."""
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
    """One training of one recipe.

    Attributes:
        run_key: key of the retrain run. A retry has the same key and so finds the models of the earlier attempt.
        history: metrics of each epoch, by metric name.
        grouped_accuracy: accuracy of a head on frozen features on the validation split, 0 to 1.
        naive_accuracy: accuracy of such a head after a random split, which puts duplicates and neighboring slices into
            both parts.
        initial_weights_sha256: sha256 of the file with the initial weights. ``None`` for random weights, and for
            weights that ``keras.applications`` downloaded.
        recipe_override: values of this training that differ from the recipe file, by key.
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


def _select(rest: str) -> TextClause:
    return statement("registry/model_versions", rest=rest)


def list_models(engine: Engine) -> list[ModelVersion]:
    """Return every model version, newest first."""
    with transaction(engine) as connection:
        return [_version(row) for row in connection.execute(_select("order by model_version_id desc"))]


def find_model(engine: Engine, name: str) -> ModelVersion:
    """Return the model version with this name, or with this ``model_version_id`` as text.

    Raises:
        ModelIntegrityError: there is no such model.
    """
    with transaction(engine) as connection:
        row = connection.execute(
            _select("where model_version.model_name = :name or model_version_id::text = :name"), {"name": name}
        ).one_or_none()
    if row is None:
        raise ModelIntegrityError(f"There is no model {name!r}. `braintumor model list` shows all models.")
    return _version(row)


def find_champion(engine: Engine) -> ModelVersion | None:
    """Return the champion model, or ``None`` if there is no champion."""
    with transaction(engine) as connection:
        row = connection.execute(
            _select("where model_version_id = (select model_version_id from champion)")
        ).one_or_none()
    return None if row is None else _version(row)


def champion(engine: Engine) -> ModelVersion:
    """Return the champion model.

    Raises:
        NoChampionError: no model was promoted yet, or the last promoted model is withdrawn.
    """
    model = find_champion(engine)
    if model is None:
        raise NoChampionError(_no_champion(engine))
    return model


def _no_champion(engine: Engine) -> str:
    with transaction(engine) as connection:
        withdrawn = connection.execute(
            text("""
            select model_name, reason from withdrawn_model
            where model_version_id = (select model_version_id from promotion order by promotion_id desc limit 1)""")
        ).one_or_none()
    if withdrawn is not None:
        return (
            f"The champion {withdrawn.model_name} was withdrawn ({withdrawn.reason}), so nothing can be scored. Roll "
            "back to an earlier one with `braintumor model rollback --reason ...`, or promote another model. "
            f"What to do: {_SECTION}."
        )
    return (
        "There is no champion yet, so nothing can be scored. Trigger the DAG weekly_retrain, or promote a trained "
        f"model: `braintumor model promote NAME --reason ...`. What to do: {_SECTION}."
    )


def trained_in(engine: Engine, run_key: str) -> list[ModelVersion]:
    """Return the models of one retrain run, sorted by recipe name and precision."""
    with transaction(engine) as connection:
        rows = connection.execute(
            _select("where training_run.run_key = :run_key order by recipe_name, precision"), {"run_key": run_key}
        )
        return [_version(row) for row in rows]


def derived_model(engine: Engine, run_key: str) -> tuple[ModelVersion | None, str]:
    """Return the usable model of a run that makes one version of another model, and the run key of that version.

    If a model of the run was pruned or withdrawn, its number becomes part of the run key of its successor. The result
    has ``None`` if there is no usable model.
    """
    for known in trained_in(engine, run_key):
        if known.pruned_at is None and known.withdrawn_at is None:
            return known, run_key
        return derived_model(engine, f"{run_key} after model {known.model_version_id}")
    return None, run_key


def training_of(engine: Engine, model: ModelVersion) -> TrainingRecord:
    """Return the record of the training that made a model."""
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
    training: TrainingRecord,
    models_uri: S3Uri,
    parent: ModelVersion | None = None,
) -> ModelVersion:
    """Upload a model folder, then insert the rows of the model and of its training in one transaction.

    A retry with the same run key, recipe and precision returns the model of the first attempt. ``parent`` is the model
    from which this model was exported in another precision.
    """
    manifest = Manifest.read(folder)
    artifacts = models_uri / f"{manifest.name}/"
    with progress("Uploading the model"):
        sha256s = store.upload_folder(folder, artifacts)
    with transaction(engine) as connection:
        training_run_id = _record_training(connection, manifest, training)
        connection.execute(
            statement("registry/add_model"),
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
                "out_of_distribution_above": manifest.out_of_distribution_above,
                "prediction_sets": manifest.prediction_sets and json.dumps(asdict(manifest.prediction_sets)),
                "parent": parent and parent.model_version_id,
            },
        )
        row = connection.execute(
            _select("where training_run_id = :id and precision = :precision"),
            {"id": training_run_id, "precision": manifest.precision},
        ).one()
        return _version(row)


def load_model(store: ObjectStore, settings: Settings, model: ModelVersion) -> LoadedModel:
    """Return a model that is ready to predict, with a compiled graph. It can raise the errors of ``fetch_model``."""
    return LoadedModel.load(fetch_model(store, settings, model), verified=model.artifact_sha256s)


def fetch_model(store: ObjectStore, settings: Settings, model: ModelVersion, *, also: Sequence[str] = ()) -> Path:
    """Return the cache folder with the verified files that scoring needs, and with the registered files ``also``.

    If a file in the cache is missing or damaged, the function downloads the files from S3.

    Raises:
        ModelIntegrityError: a file is missing or differs from the registry, or the model was pruned.
    """
    _require_files(model)
    folder = model_cache.model_folder(settings, model.model_name)
    sha256s = serving_sha256s(model.artifact_sha256s) | {name: model.artifact_sha256s[name] for name in also}
    if any(not (folder / name).is_file() or sha256_of(folder / name) != sha256s[name] for name in sha256s):
        model_cache.delete_unused(settings)
        _fetch(store, S3Uri.parse(model.artifact_uri), folder, sha256s)
    return folder


def require_whole(store: ObjectStore, settings: Settings, model: ModelVersion) -> None:
    """Check that a model's files in S3, not in the cache, can be loaded. It can raise the errors of ``fetch_model``."""
    with TemporaryDirectory(prefix="braintumor-verify-") as folder:
        load_model(store, replace(settings, cache_folder=folder), model)


def stored_files(store: ObjectStore, model: ModelVersion) -> list[ObjectEntry]:
    """Return the objects in S3 that are registered files of the model. Reports and plots are not registered."""
    folder = S3Uri.parse(model.artifact_uri)
    return [entry for entry in store.list(folder) if entry.key.removeprefix(folder.key) in model.artifact_sha256s]


def fetch_artifact(store: ObjectStore, model: ModelVersion, folder: Path) -> None:
    """Download and verify every registered file of a model. It can raise the errors of ``fetch_model``."""
    _require_files(model)
    _fetch(store, S3Uri.parse(model.artifact_uri), folder, model.artifact_sha256s)


def _require_files(model: ModelVersion) -> None:
    if model.pruned_at is not None:
        raise ModelIntegrityError(
            f"The files of {model.model_name} were pruned on {model.pruned_at:%Y-%m-%d}, because it was old and "
            "never used for scoring. Its metadata and report are kept. To train such a model again: "
            f"`braintumor train --recipe {model.recipe_name}`."
        )


def _fetch(store: ObjectStore, artifacts: S3Uri, folder: Path, sha256s: dict[str, str]) -> None:
    """Download files into a temporary folder, verify their sha256, and move each file into ``folder``."""
    try:
        with model_cache.download_folder(folder) as temporary:
            for name in sha256s:
                (temporary / name).write_bytes(store.read(artifacts / name))
            verify(temporary, sha256s)
            for name in sha256s:
                (temporary / name).replace(folder / name)
    except ObjectMissingError as exc:
        raise ModelIntegrityError(
            f"A file of the model at {artifacts} is gone. Restore it from a backup, or promote another model."
        ) from exc


def _record_training(connection: Connection, manifest: Manifest, training: TrainingRecord) -> int:
    connection.execute(
        statement("registry/add_training_run"),
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
    training_run_id: int = connection.execute(
        text("select training_run_id from training_run where run_key = :run_key and recipe_name = :recipe"),
        {"run_key": training.run_key, "recipe": manifest.recipe},
    ).scalar_one()
    return training_run_id


def _version(row: Row[Any]) -> ModelVersion:
    sets = row.prediction_sets
    return ModelVersion(**{**row._mapping, "prediction_sets": None if sets is None else SetThresholds.of_values(sets)})
