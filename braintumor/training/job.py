"""Train one recipe of a retrain run, from the snapshot to the registered model version, in its own process."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.registry import model_cache
from braintumor.registry.model_versions import ModelVersion, TrainingRecord, register, trained_in
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.training.pretrained_weights import WeightsFile, pretrained_weights
from braintumor.training.recipe import Recipe
from braintumor.training.train import TrainedModel, train

_log = logging.getLogger(__name__)
_RECORDED = ("braintumor", "keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "pillow", "pydicom")


def retrain(
    settings: Settings, recipe: Recipe, *, snapshot_id: str, run_key: str, overrides: Mapping[str, Any] | None = None
) -> ModelVersion:
    """Train ``recipe`` on a snapshot, and return the registered model.

    If the retrain run already has a model of a recipe with this name, return that model without training.

    Args:
        settings: connections to Postgres and S3.
        recipe: the recipe to train.
        snapshot_id: the snapshot with the images.
        run_key: key of the retrain run.
        overrides: values that replace values of the recipe. The changed values are recorded with the model.

    Raises:
        DatasetError: the snapshot does not exist, or one of its images was overwritten.
        RecipeError: a value in ``overrides`` is not allowed.
        WeightsError: the initial weights are missing or do not fit.
        TrainingError: an epoch cannot be saved, or fine-tuning diverges.
        ModelIntegrityError: the exported graph disagrees with Keras.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    original, recipe = recipe, recipe.override(**overrides or {})
    for model in trained_in(engine, run_key):
        if model.recipe_name == recipe.name:
            _log.info("%s: already trained in this run as %s", recipe.name, model.model_name)
            return model
    snapshot = load_snapshot(engine, snapshot_id)
    checkpoints = _checkpoints(settings, recipe, snapshot_id=snapshot_id, run_key=run_key)
    with TemporaryDirectory() as scratch, pretrained_weights(settings, recipe) as weights:
        folder = Path(scratch) / "model"
        folder.mkdir()
        trained = train(
            recipe,
            frames={
                split: load_frames(store, snapshot, split, size=recipe.image_size)
                for split in (Split.TRAIN, Split.VALIDATION)
            },
            snapshot_id=snapshot_id,
            weights=None if weights is None else weights.path,
            folder=folder,
            checkpoints=checkpoints,
        )
        model = register(
            engine,
            store,
            folder=folder,
            training=_record(run_key, recipe, original, trained, weights),
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    _log.info("registered %s", model.model_name)
    return model


def _record(
    run_key: str, recipe: Recipe, original: Recipe, trained: TrainedModel, weights: WeightsFile | None
) -> TrainingRecord:
    return TrainingRecord(
        run_key=run_key,
        recipe=recipe.to_values(),
        recipe_override=recipe.changes_from(original),
        history=trained.history,
        code_version=version("braintumor"),
        library_versions=_versions(),
        device=trained.device,
        seconds=trained.seconds,
        grouped_accuracy=trained.grouped_accuracy,
        naive_accuracy=trained.naive_accuracy,
        initial_weights_sha256=None if weights is None else weights.sha256,
    )


def _checkpoints(settings: Settings, recipe: Recipe, *, snapshot_id: str, run_key: str) -> Path:
    """Return the checkpoint folder of one training.

    A retry of the training has the same folder. Another run, recipe, snapshot or preprocessing has another folder.
    """
    identity = json.dumps([run_key, snapshot_id, recipe.to_values(), PREPROCESSING], sort_keys=True)
    return model_cache.training_folder(settings, recipe.name, sha256(identity.encode()).hexdigest()[:12])


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in _RECORDED:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
