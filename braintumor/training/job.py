"""One recipe of a retrain run, from a snapshot to a registered model version. Runs in an interpreter of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.metadata import version
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

_RECORDED = ("braintumor", "keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "pillow", "pydicom")


def retrain(
    settings: Settings,
    recipe: Recipe,
    *,
    snapshot_id: str,
    run_key: str,
    overrides: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ModelVersion:
    """Train ``recipe`` on a snapshot and register the result; a retry of a finished training returns its model.

    Values of ``overrides`` go before the recipe's own. Where they differ from them, that is on record.

    Raises:
        DatasetError: there is no such snapshot, or an image of it was overwritten.
        RecipeError: a value of ``overrides`` is not one that a recipe can have.
        WeightsError: the initial weights cannot be had.
        TrainingError, ModelIntegrityError: as of ``train``.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    original, recipe = recipe, recipe.override(**overrides or {})
    for model in trained_in(engine, run_key):
        if model.recipe_name == recipe.name:
            say(f"{recipe.name}: already trained in this run as {model.model_name}")
            return model
    snapshot = load_snapshot(engine, snapshot_id)
    checkpoints = _checkpoints(settings, recipe, snapshot_id=snapshot_id, run_key=run_key)
    with TemporaryDirectory() as scratch, pretrained_weights(settings, recipe) as weights:
        folder = Path(scratch) / "model"
        folder.mkdir()
        trained = train(
            recipe,
            training=load_frames(store, snapshot, Split.TRAIN, size=recipe.image_size),
            validation=load_frames(store, snapshot, Split.VALIDATION, size=recipe.image_size),
            snapshot_id=snapshot_id,
            weights=None if weights is None else weights.path,
            folder=folder,
            checkpoints=checkpoints,
            say=say,
        )
        model = register(
            engine,
            store,
            folder=folder,
            training=_record(run_key, recipe, original, trained, weights),
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    say(f"registered {model.model_name}")
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
    """Where this training's epochs are kept: the same for a retry, another for any other recipe, data, pixels, run."""
    what = json.dumps([run_key, snapshot_id, recipe.to_values(), PREPROCESSING], sort_keys=True)
    return model_cache.training_folder(settings, recipe.name, sha256(what.encode()).hexdigest()[:12])


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError

    found: dict[str, str] = {}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
