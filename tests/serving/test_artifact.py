"""Test the verification of model folders, and predictions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braintumor.errors import ModelIntegrityError
from braintumor.labels import CLASSES, TumorClass
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import LoadedModel, Outputs
from braintumor.serving.prediction import ReviewReason, to_predictions
from braintumor.serving.prediction_set import SetThresholds


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """Return a model folder that a test can damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def rewrite(folder: Path, **values: Any) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**manifest, **values}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classes": ["pituitary", "glioma", "meningioma", "normal"]}, "in this order"),
        ({"preprocessing": "stretched-nearest-0"}, "stretched-nearest-0"),
        ({"surprise": 1}, "is not a manifest"),
        ({"sha256s": None}, "is not a manifest"),
        ({"prediction_sets": []}, "is not a manifest"),
    ],
)
def test_model_of_another_kind_is_refused(folder: Path, values: dict[str, Any], words: str) -> None:
    rewrite(folder, **values)
    with pytest.raises(ModelIntegrityError, match=words):
        LoadedModel.load(folder)


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelIntegrityError, match=f"{name} is missing"):
        LoadedModel.load(folder)


@pytest.mark.parametrize("registered", ["0" * 64, None])
def test_other_sha256_in_the_registry_is_refused(folder: Path, registered: str | None) -> None:
    sha256s = Manifest.read(folder).sha256s | {"model.xml": registered}
    verified = {name: digest for name, digest in sha256s.items() if digest}
    with pytest.raises(ModelIntegrityError, match=r"gives model\.xml the sha256 .* the registry (0000|none)"):
        LoadedModel.load(folder, verified=verified)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_manifest_that_is_no_json_object_is_named(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ModelIntegrityError, match="is not a manifest"):
        Manifest.read(folder)


def test_predictions_have_order_of_frames_with_any_batch(tiny_model_folder: Path) -> None:
    model = LoadedModel.load(tiny_model_folder)
    frames = np.random.default_rng(0).integers(0, 255, (21, 64, 64, 3), dtype=np.uint8)
    together = model.predict(frames).probability
    alone = np.concatenate([model.predict(frames[i : i + 1]).probability for i in range(len(frames))])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_frames_of_wrong_size_are_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, 64, 64, 3\)"):
        LoadedModel.load(tiny_model_folder).predict(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("probability", "classes", "reasons"),
    [
        ([0.97, 0.01, 0.01, 0.01], CLASSES[:1], ()),
        ([0.55, 0.25, 0.10, 0.10], (), (ReviewReason.NO_LIKELY_CLASS,)),
        ([0.62, 0.36, 0.01, 0.01], CLASSES[:2], (ReviewReason.SEVERAL_CLASSES,)),
        ([0.55, 0.40, 0.03, 0.02], CLASSES[:2], (ReviewReason.SEVERAL_CLASSES,)),
    ],
    ids=["one class", "none", "two", "the predicted class joins another"],
)
def test_doubtful_predictions_have_review_reasons(
    tiny_model_folder: Path,
    probability: list[float],
    classes: tuple[TumorClass, ...],
    reasons: tuple[ReviewReason, ...],
) -> None:
    thresholds = SetThresholds(
        coverage=0.95,
        lowest_probability=dict(zip(CLASSES, (0.6, 0.3, 0.5, 0.5), strict=True)),
        count_group=dict.fromkeys(CLASSES, 40),
    )
    manifest = replace(Manifest.read(tiny_model_folder), prediction_sets=thresholds)
    outputs = Outputs(
        probability=np.array([probability], np.float32),
        activation_map=np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4),
        embedding=np.zeros((1, 3), np.float32),
    )
    (prediction,) = to_predictions(outputs, manifest)
    assert prediction.prediction_set == classes and prediction.review_reasons == reasons
    assert prediction.margin == pytest.approx(probability[0] - probability[1])
    np.testing.assert_array_equal(prediction.activation_map, [[0, 4], [8, 12]])
