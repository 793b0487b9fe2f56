"""The out-of-distribution score: what it says of frames, and what a model folder must hold for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from braintumor.serving.artifact import MANIFEST, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import LoadedModel
from braintumor.serving.out_of_distribution import distances, normalized, read_reference, spread
from braintumor.serving.prediction import ReviewReason, to_predictions
from tests.models import of_before


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def replace_reference(folder: Path, data: bytes) -> None:
    """Damage that the sha256 does not tell: the manifest speaks of the file as it is."""
    (folder / REFERENCE).write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256s"][REFERENCE] = sha256_of(folder / REFERENCE)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def saved(values: NDArray[np.generic]) -> bytes:
    stream = BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def noise(count: int, size: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def flagged(model: LoadedModel, frames: NDArray[np.uint8]) -> list[bool]:
    said = to_predictions(model.predict(frames), model.manifest)
    return [ReviewReason.OUT_OF_DISTRIBUTION in answer.review_reasons for answer in said]


def test_noise_is_flagged_and_heads_that_the_model_never_saw_are_not(tiny_model_folder: Path) -> None:
    model = LoadedModel.load(tiny_model_folder)
    heads = [letterbox(draw(label, seed=900_000 + seed).pixels, size=64) for seed in range(10) for label in CLASSES]
    assert all(flagged(model, noise(20)))
    assert sum(flagged(model, np.stack(heads))) <= 4  # of 40; 16 validation images fit a threshold roughly
    blank = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255)])
    assert all(flagged(model, blank))


def test_the_reference_is_the_training_images_as_the_served_graph_embeds_them(tiny_model_folder: Path) -> None:
    reference = read_reference(tiny_model_folder / REFERENCE)
    assert reference.dtype == np.float32 and reference.shape[1] == 512 and 50 < len(reference) <= 2000
    np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-5)
    model = LoadedModel.load(tiny_model_folder)
    once, twice = (model.predict(noise(9)) for _ in range(2))
    np.testing.assert_array_equal(once.embedding, twice.embedding)
    assert once.out_of_distribution is not None and twice.out_of_distribution is not None
    np.testing.assert_array_equal(once.out_of_distribution, twice.out_of_distribution)


def test_a_folder_of_before_answers_without_a_score(folder: Path) -> None:
    of_before(folder)
    model = LoadedModel.load(folder)
    assert model.manifest.low_confidence_below == dict.fromkeys(CLASSES, 0.6)
    assert model.manifest.out_of_distribution_above is None
    (answer,) = to_predictions(model.predict(noise(1)), model.manifest)
    assert answer.out_of_distribution is None
    assert ReviewReason.OUT_OF_DISTRIBUTION not in answer.review_reasons


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]],
    ids=["truncated", "one bit"],
)
def test_a_damaged_reference_is_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / REFERENCE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelIntegrityError, match=f"{REFERENCE} is not the file that was registered"):
        LoadedModel.load(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"not an array",
        saved(np.eye(4, dtype=np.float64)),
        saved(np.ones(4, np.float32)),
        saved(np.empty((0, 4), np.float32)),
        saved(np.full((2, 4), 3, np.float32)),
        saved(np.full((2, 4), np.nan, np.float32)),
        saved(np.array([{"a": 1}], dtype=object)),
    ],
    ids=["words", "float64", "one row", "none", "not of length 1", "NaN", "pickle"],
)
def test_what_is_no_table_of_embeddings_is_refused(folder: Path, data: bytes) -> None:
    replace_reference(folder, data)
    with pytest.raises(ModelIntegrityError, match=REFERENCE):
        LoadedModel.load(folder)


def test_a_missing_reference_and_a_threshold_without_one_are_refused(folder: Path) -> None:
    (folder / REFERENCE).unlink()
    with pytest.raises(ModelIntegrityError, match=f"{REFERENCE} is missing"):
        LoadedModel.load(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256s"][REFERENCE]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelIntegrityError, match="out_of_distribution_above together with"):
        Manifest.read(folder)


def test_a_threshold_that_lacks_a_class_is_named(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["low_confidence_below"]["pituitary"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelIntegrityError, match="pituitary"):
        Manifest.read(folder)


def test_the_score_is_the_mean_cosine_distance_to_the_five_nearest_in_blocks_as_in_one_go() -> None:
    random = np.random.default_rng(0)
    reference = normalized(random.normal(size=(40, 6)).astype(np.float32))
    asked = random.normal(size=(700, 6)).astype(np.float32)
    cosine = asked @ reference.T / np.linalg.norm(asked, axis=1, keepdims=True)
    expected = np.sort(1 - cosine, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(distances(asked, reference), expected, atol=1e-6)
    np.testing.assert_allclose(distances(asked * 100, reference), expected, atol=1e-6)  # only directions count
    np.testing.assert_allclose(distances(reference[:2], reference[:2])[0], (1 - cosine_of(reference)) / 2, atol=1e-6)
    assert distances(np.zeros((1, 6), np.float32), reference) == pytest.approx([1])
    assert distances(np.empty((0, 6), np.float32), reference).shape == (0,)


def cosine_of(rows: NDArray[np.float32]) -> float:
    return float(rows[0] @ rows[1])


def test_references_are_spread_over_the_classes_by_their_shares() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [4000, 3000, 2000, 1000]))
    kept = spread(labels)
    assert len(set(kept.tolist())) == 2000
    assert np.bincount(labels[kept]) == pytest.approx([800, 600, 400, 200], abs=1)
    np.testing.assert_array_equal(kept, spread(labels))
    assert sorted(spread(labels[:30]).tolist()) == list(range(30))
