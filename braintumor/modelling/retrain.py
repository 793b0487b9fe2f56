"""One recipe of a retrain run, from a snapshot to a registered model version. Runs in an interpreter of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from braintumor import database
from braintumor.dataset.frameset import load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.split import Split
from braintumor.errors import WeightsError
from braintumor.modelling.recipe import BackboneName, Recipe
from braintumor.modelling.training import train
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.registry import ModelVersion, TrainingRecord, register, trained_in
from braintumor.settings import Settings

_RECORDED = ("braintumor", "keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy", "pillow", "pydicom")


def retrain(
    settings: Settings,
    recipe: Recipe,
    *,
    snapshot_id: str,
    run_key: str,
    say: Callable[[str], None] = lambda _: None,
) -> ModelVersion:
    """Train ``recipe`` on a snapshot and register the result; a retry of a finished training returns its model.

    Raises:
        DatasetError: there is no such snapshot, or an image of it was overwritten.
        WeightsError: the initial weights cannot be had.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    for model in trained_in(engine, run_key):
        if model.recipe_name == recipe.name:
            say(f"{recipe.name}: already trained in this run as {model.model_name}")
            return model
    snapshot = load_snapshot(engine, snapshot_id)
    checkpoints = _checkpoints(settings, recipe, snapshot_id=snapshot_id, run_key=run_key)
    with TemporaryDirectory() as scratch, _mirrored_weights(settings, store, recipe) as weights:
        folder = Path(scratch) / "model"
        folder.mkdir()
        trained = train(
            recipe,
            training=load_frames(store, snapshot, Split.TRAIN, size=recipe.image_size),
            validation=load_frames(store, snapshot, Split.VALIDATION, size=recipe.image_size),
            snapshot_id=snapshot_id,
            weights=weights,
            folder=folder,
            checkpoints=checkpoints,
            say=say,
        )
        record = TrainingRecord(
            run_key=run_key,
            recipe=recipe.to_values(),
            history=trained.history,
            code_version=version("braintumor"),
            library_versions=_versions(),
            device=trained.device,
            seconds=trained.seconds,
            grouped_accuracy=trained.grouped_accuracy,
            naive_accuracy=trained.naive_accuracy,
        )
        model = register(
            engine,
            store,
            folder=folder,
            manifest=trained.manifest,
            training=record,
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
        )
    shutil.rmtree(checkpoints, ignore_errors=True)
    say(f"registered {model.model_name}")
    return model


def mirrored_name(backbone: BackboneName) -> str:
    """The name of a backbone's ImageNet weights in the mirror."""
    return f"{backbone}_imagenet_notop.weights.h5"


def mirror_weights(settings: Settings, path: Path) -> BackboneName:
    """Put a weights file into the mirror under the name of the backbone that it fits.

    Raises:
        WeightsError: it is no weights file, or fits no backbone.
    """
    backbone = _recognise(path)
    store = ObjectStore.connect(settings)
    mirror = S3Uri.parse_prefix(settings.require("weights_uri"))
    store.write(mirror / mirrored_name(backbone), path.read_bytes())
    return backbone


def _recognise(path: Path) -> BackboneName:
    from braintumor.modelling.backbone import BACKBONES, load_weights

    if not path.is_file():
        raise WeightsError(f"{path} is not a file.")
    for name, backbone in BACKBONES.items():
        try:
            load_weights(backbone.build(224), path)
        except WeightsError:
            continue
        return name
    raise WeightsError(
        f"{path} fits none of {', '.join(BACKBONES)}. Give a .weights.h5 file of one of them, without its top."
    )


def _checkpoints(settings: Settings, recipe: Recipe, *, snapshot_id: str, run_key: str) -> Path:
    """Where this training's epochs are kept: the same for a retry, another for any other recipe, data or run."""
    what = json.dumps([run_key, snapshot_id, recipe.to_values()], sort_keys=True)
    name = f"{recipe.name}-{sha256(what.encode()).hexdigest()[:12]}"
    return Path(settings.require("cache_folder")).expanduser() / "training" / name


@contextmanager
def _mirrored_weights(settings: Settings, store: ObjectStore, recipe: Recipe) -> Iterator[Path | None]:
    """A local copy of the mirror's weights for this recipe, or None where it has none or needs none."""
    mirror = S3Uri.parse_prefix(settings.require("weights_uri"))
    wanted = mirror / mirrored_name(recipe.backbone)
    is_there = recipe.initial_weights == "imagenet" and any(entry.key == wanted.key for entry in store.list(wanted))
    if not is_there:
        yield None
        return
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / mirrored_name(recipe.backbone)
        path.write_bytes(store.read(wanted))
        yield path


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError

    found: dict[str, str] = {}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
