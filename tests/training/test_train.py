"""Training in processes of its own, as people and the DAG start it; its result through the serving engine."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
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


def test_the_map_explains_the_answer_exactly(seeded: Settings, tiny_model_folder: Path) -> None:
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
def test_features_are_the_same_through_keras_and_through_openvino() -> None:
    code = """
        import sys
        import numpy as np
        from braintumor.training.classifier import Classifier
        from braintumor.training.features import FeatureExtractor, through_keras, through_openvino
        from braintumor.training.recipe import Recipe
        classifier = Classifier(Recipe.load(sys.argv[1]))
        frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
        ours, theirs = through_keras(classifier)(frames), through_openvino(classifier)(frames)
        for name in ("embedding", "features"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-2, atol=1e-3 * np.abs(ours[name]).max())
        print(ours["embedding"].shape, ours["features"].shape, FeatureExtractor.fastest(classifier).device)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(TINY_RECIPE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "(5, 512) (5, 2, 2, 512) cpu (OpenVINO)" in done.stdout, done.stderr


def test_features_that_are_not_what_the_served_graph_says_are_made_anew(tiny_model_folder: Path) -> None:
    engine = OpenVinoBackend(tiny_model_folder / "model.xml")
    frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    served = engine.run(frames)["embedding"]
    rounded = served * np.float32(1 + 1e-7)
    assert as_served(engine, frames, rounded) is rounded  # no second pass over every image
    other = served + np.float32(0.02) * np.abs(served).max()
    np.testing.assert_allclose(as_served(engine, frames, other), served, rtol=1e-5)


def test_a_training_leaves_a_whole_record(seeded: Settings, tiny_model_folder: Path) -> None:
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


def test_a_retry_finds_the_model_and_trains_nothing(settings: Settings) -> None:
    snapshot = model_versions.list_models(database.connect(settings))[0].snapshot_id
    done = run_braintumor(
        settings, "train", "--recipe", str(TINY_RECIPE), "--snapshot", snapshot, "--run-key", "seed", "--json"
    )
    assert "already trained in this run" in done.stderr
    models = model_versions.list_models(database.connect(settings))
    assert [model.model_name for model in models] == [json.loads(done.stdout)["model_name"]]


@pytest.mark.soak
def test_one_seed_on_one_device_gives_one_model(settings: Settings, tiny_model_folder: Path) -> None:
    snapshot = Manifest.read(tiny_model_folder).snapshot_id
    run_braintumor(settings, "train", "--recipe", str(TINY_RECIPE), "--snapshot", snapshot, "--run-key", "again")
    again, first = model_versions.list_models(database.connect(settings))
    assert again.model_version_id != first.model_version_id
    for name in ("model.bin", "reference.npy"):
        assert again.artifact_sha256s[name] == first.artifact_sha256s[name], name


@pytest.mark.soak
def test_missing_weights_are_said_before_training_with_three_remedies(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # an empty cache
    for name in ("HTTPS_PROXY", "https_proxy"):  # and no way out
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    snapshot = model_versions.list_models(database.connect(settings))[0].snapshot_id
    done = run_braintumor(settings, "train", "--recipe", "mobilenet_v2", "--snapshot", snapshot, check=False)
    assert done.returncode == 1
    assert "ImageNet weights of MobileNetV2 cannot be had" in done.stderr
    assert "braintumor weights add FILE" in done.stderr
    assert len(model_versions.list_models(database.connect(settings))) == 1


def run_python(code: str, *arguments: str) -> str:
    """Run code that loads TensorFlow, outside the tests' own process."""
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.soak
def test_sixteen_bits_are_for_the_time_of_training_alone() -> None:
    printed = run_python(
        """
        import sys
        import numpy as np
        from braintumor.training.classifier import Classifier
        from braintumor.training.fine_tuning import computing_in
        from braintumor.training.recipe import Recipe
        network = Classifier(Recipe.load(sys.argv[1])).network
        frames = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
        before = np.asarray(network(frames))
        with computing_in(network, "mixed_bfloat16"):
            inside = network(frames)
            print(inside.dtype.name, {str(weight.dtype) for weight in network.weights})
        after = np.asarray(network(frames))
        close = np.allclose(np.asarray(inside, np.float32), before, atol=0.05 * np.abs(before).max())
        print(close, (before == after).all(), after.dtype)
        """,
        str(TINY_RECIPE),
    )
    assert printed.splitlines() == ["bfloat16 {'float32'}", "True True float32"]


@pytest.mark.soak
def test_weights_find_their_backbone_and_no_other(tmp_path: Path) -> None:
    printed = run_python(
        """
        import sys
        from pathlib import Path
        from braintumor.errors import WeightsError
        from braintumor.training.backbones import BACKBONES, load_weights
        path = Path(sys.argv[1]) / "w.weights.h5"
        source = BACKBONES["mobilenet_v2"].build(64)
        source.save_weights(path)
        target = BACKBONES["mobilenet_v2"].build(96)
        load_weights(target, path)
        print(all((a == b).all() for a, b in zip(source.get_weights(), target.get_weights())))
        for name, file in (("vgg16", path), ("vgg16", Path(__import__("os").devnull))):
            try:
                load_weights(BACKBONES[name].build(64), file)
            except WeightsError as error:
                print("refused:", error)
        """,
        str(tmp_path),
    )
    first, *refusals = printed.splitlines()
    assert first == "True"
    assert len(refusals) == 2 and all("does not fit this backbone" in line for line in refusals)


@pytest.mark.soak
def test_a_graph_that_disagrees_with_keras_is_refused(tmp_path: Path) -> None:
    printed = run_python(
        f"""
        import sys
        from pathlib import Path
        import numpy as np
        from braintumor.errors import ModelIntegrityError
        from braintumor.training.classifier import Classifier
        from braintumor.training.recipe import Recipe
        classifier = Classifier(Recipe.load({str(TINY_RECIPE)!r}))
        probe = np.zeros((2, 64, 64, 3), np.uint8)
        classifier.export(Path(sys.argv[1]), temperature=1.0, probe=probe)
        nan = np.full((512, 4), np.nan, np.float32)
        classifier.set_head(nan, np.zeros(4, np.float32))
        try:
            classifier.export(Path(sys.argv[1]), temperature=1.0, probe=probe)
        except ModelIntegrityError as error:
            print("refused:", error)
        """,
        str(tmp_path),
    )
    assert "refused: The exported graph disagrees with Keras by nan" in printed
