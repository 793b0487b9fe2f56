"""Test training in subprocesses, and its model in the serving backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import LoadedModel, OpenVinoBackend
from braintumor.training.features import as_served
from tests.conftest import TINY_RECIPE, run_braintumor
from tests.training.keras_checks import run_check


def test_activation_map_mean_gives_the_probability(seeded: Settings, tiny_model_folder: Path) -> None:
    engine = database.connect(seeded)
    model = LoadedModel.load(tiny_model_folder)
    snapshot = load_snapshot(engine, model.manifest.snapshot_id)
    engine.dispose()
    test = load_frames(ObjectStore.connect(seeded), snapshot, Split.TEST, size=64)
    outputs = model.predict(test.frames)
    logits = outputs.activation_map.mean(axis=(1, 2))
    np.testing.assert_allclose(softmax(logits / model.manifest.temperature, axis=1), outputs.probability, atol=1e-5)
    assert outputs.activation_map.shape[1:] == (2, 2, 4)
    assert outputs.embedding.shape == (len(test.labels), 512)


@pytest.mark.soak
def test_keras_and_openvino_features_are_equal() -> None:
    assert "(5, 512) (5, 2, 2, 512) cpu (OpenVINO)" in run_check("feature_backends", TINY_RECIPE)


def test_features_that_differ_from_the_graph_are_recomputed(tiny_model_folder: Path) -> None:
    engine = OpenVinoBackend(tiny_model_folder / "model.xml")
    frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    served = engine.run(frames)["embedding"]
    rounded = served * np.float32(1 + 1e-7)
    assert as_served(engine, frames, rounded) is rounded  # no second pass over all images
    other = served + np.float32(0.02) * np.abs(served).max()
    np.testing.assert_allclose(as_served(engine, frames, other), served, rtol=1e-5)


def test_training_records_all_values(seeded: Settings, tiny_model_folder: Path) -> None:
    engine = database.connect(seeded)
    with database.transaction(engine) as connection:
        run = connection.execute(text("select * from training_run")).one()
    model = model_versions.champion(engine)
    engine.dispose()
    epochs = len(run.history["loss"])
    assert set(run.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert 1 <= epochs <= run.recipe["epochs"] == 15
    assert len((tiny_model_folder / "history.csv").read_text().splitlines()) == epochs + 1
    assert (run.initialization, run.recipe["backbone"]) == ("random", "vgg16")
    assert {"keras", "openvino", "numpy"} <= set(run.library_versions)
    assert set(model.artifact_sha256s) == {
        "model.json", "model.xml", "model.bin", "reference.npy", "model.weights.h5", "history.csv"
    }  # fmt: skip
    assert Manifest.read(tiny_model_folder).name == model.model_name


def test_retry_returns_the_trained_model(settings: Settings) -> None:
    snapshot = model_versions.list_models(database.connect(settings))[0].snapshot_id
    done = run_braintumor(
        settings, "train", "--recipe", str(TINY_RECIPE), "--snapshot", snapshot, "--run-key", "seed", "--json"
    )
    assert "already trained in this run" in done.stderr
    models = model_versions.list_models(database.connect(settings))
    assert [model.model_name for model in models] == [json.loads(done.stdout)["model_name"]]


@pytest.mark.soak
def test_same_seed_and_device_give_the_same_model(settings: Settings, tiny_model_folder: Path) -> None:
    snapshot = Manifest.read(tiny_model_folder).snapshot_id
    run_braintumor(settings, "train", "--recipe", str(TINY_RECIPE), "--snapshot", snapshot, "--run-key", "again")
    again, first = model_versions.list_models(database.connect(settings))
    assert again.model_version_id != first.model_version_id
    for name in ("model.bin", "reference.npy"):
        assert again.artifact_sha256s[name] == first.artifact_sha256s[name], name


@pytest.mark.soak
def test_missing_weights_error_gives_remedies_before_training(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # an empty cache
    for name in ("HTTPS_PROXY", "https_proxy"):  # and no network
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    snapshot = model_versions.list_models(database.connect(settings))[0].snapshot_id
    done = run_braintumor(settings, "train", "--recipe", "mobilenet_v2", "--snapshot", snapshot, check=False)
    assert done.returncode == 1
    assert "ImageNet weights of MobileNetV2 cannot be loaded" in done.stderr
    assert "braintumor weights add FILE" in done.stderr
    assert len(model_versions.list_models(database.connect(settings))) == 1


@pytest.mark.soak
def test_bfloat16_is_used_only_during_training() -> None:
    printed = run_check("mixed_precision", TINY_RECIPE)
    assert printed.splitlines() == ["bfloat16 {'float32'}", "True True float32"]


@pytest.mark.soak
def test_weights_load_only_into_their_backbone(tmp_path: Path) -> None:
    printed = run_check("weights_files", tmp_path)
    first, *refusals = printed.splitlines()
    assert first == "True"
    assert len(refusals) == 2 and all("does not fit this backbone" in line for line in refusals)


@pytest.mark.soak
def test_graph_that_disagrees_with_keras_is_refused(tmp_path: Path) -> None:
    printed = run_check("export_of_nan", tmp_path)
    assert "refused: The exported graph disagrees with Keras by nan" in printed
