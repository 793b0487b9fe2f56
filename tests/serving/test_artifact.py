"""What a model folder must be before anything of it is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braintumor.errors import ModelIntegrityError
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import LoadedModel, Outputs
from braintumor.serving.prediction import ReviewReason, to_predictions


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
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
    ],
)
def test_a_model_of_another_kind_is_refused(folder: Path, values: dict[str, Any], words: str) -> None:
    rewrite(folder, **values)
    with pytest.raises(ModelIntegrityError, match=words):
        LoadedModel.load(folder)


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelIntegrityError, match=f"{name} is missing"):
        LoadedModel.load(folder)


def test_a_manifest_that_is_not_json_is_named(folder: Path) -> None:
    (folder / "model.json").write_text("{")
    with pytest.raises(ModelIntegrityError, match="is not a manifest"):
        Manifest.read(folder)


def test_answers_come_in_the_order_of_the_frames_whatever_the_batches(tiny_model_folder: Path) -> None:
    model = LoadedModel.load(tiny_model_folder)
    frames = np.random.default_rng(0).integers(0, 255, (21, 64, 64, 3), dtype=np.uint8)
    together = model.predict(frames).probability
    alone = np.concatenate([model.predict(frames[i : i + 1]).probability for i in range(len(frames))])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_frames_of_another_size_are_refused(tiny_model_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, 64, 64, 3\)"):
        LoadedModel.load(tiny_model_folder).predict(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("probability", "reasons"),
    [
        ([0.97, 0.01, 0.01, 0.01], ()),
        ([0.55, 0.25, 0.10, 0.10], (ReviewReason.LOW_CONFIDENCE,)),
        ([0.48, 0.47, 0.03, 0.02], (ReviewReason.LOW_CONFIDENCE, ReviewReason.NEAR_TIE)),
    ],
)
def test_doubtful_answers_say_why_a_person_should_look(
    tiny_model_folder: Path, probability: list[float], reasons: tuple[ReviewReason, ...]
) -> None:
    outputs = Outputs(
        probability=np.array([probability], np.float32),
        activation_map=np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4),
        embedding=np.zeros((1, 3), np.float32),
    )
    (answer,) = to_predictions(outputs, Manifest.read(tiny_model_folder))
    assert answer.review_reasons == reasons
    assert answer.margin == pytest.approx(probability[0] - probability[1])
    np.testing.assert_array_equal(answer.activation_map, [[0, 4], [8, 12]])
