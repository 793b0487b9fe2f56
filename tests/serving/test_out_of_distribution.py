"""Test the out-of-distribution score, and the files of a model folder that it needs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from braintumor.errors import ModelIntegrityError
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.phantom.slice import draw
from braintumor.labels import CLASSES
from braintumor.serving.artifact import MANIFEST, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import LoadedModel
from braintumor.serving.out_of_distribution import distances, normalized, read_reference, spread
from braintumor.serving.prediction import ReviewReason, to_predictions
from tests.models import remove_reference


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """Return a model folder that a test can damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def replace_reference(folder: Path, data: bytes) -> None:
    """Replace the reference, and update its sha256 in the manifest."""
    (folder / REFERENCE).write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256s"][REFERENCE] = sha256_of(folder / REFERENCE)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def npy(values: NDArray[np.generic]) -> bytes:
    stream = BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def noise(count: int, size: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def flagged(model: LoadedModel, frames: NDArray[np.uint8]) -> list[bool]:
    predictions = to_predictions(model.predict(frames), model.manifest)
    return [ReviewReason.OUT_OF_DISTRIBUTION in prediction.review_reasons for prediction in predictions]


def test_noise_is_out_of_distribution_and_new_phantoms_are_not(tiny_model_folder: Path) -> None:
    model = LoadedModel.load(tiny_model_folder)
    heads = [letterbox(draw(label, seed=900_000 + seed).pixels, size=64) for seed in range(10) for label in CLASSES]
    assert all(flagged(model, noise(20)))
    assert sum(flagged(model, np.stack(heads))) <= 4  # of 40, because 16 validation images give only a rough threshold
    blank = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 255)])
    assert all(flagged(model, blank))


def test_reference_is_embeddings_of_training_images(tiny_model_folder: Path) -> None:
    reference = read_reference(tiny_model_folder / REFERENCE)
    assert reference.dtype == np.float32 and reference.shape[1] == 512 and 50 < len(reference) <= 2000
    np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, atol=1e-5)
    model = LoadedModel.load(tiny_model_folder)
    once, twice = (model.predict(noise(9)) for _ in range(2))
    np.testing.assert_array_equal(once.embedding, twice.embedding)
    assert once.out_of_distribution is not None and twice.out_of_distribution is not None
    np.testing.assert_array_equal(once.out_of_distribution, twice.out_of_distribution)


def test_model_folder_without_reference_predicts_no_ood_score(folder: Path) -> None:
    remove_reference(folder)
    model = LoadedModel.load(folder)
    assert model.manifest.prediction_sets is None and model.manifest.out_of_distribution_above is None
    (prediction,) = to_predictions(model.predict(noise(1)), model.manifest)
    assert prediction.out_of_distribution is None and prediction.prediction_set is None
    assert prediction.review_reasons == ()


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]],
    ids=["truncated", "one bit"],
)
def test_damaged_reference_is_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / REFERENCE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelIntegrityError, match=f"{REFERENCE} is not the file that was registered"):
        LoadedModel.load(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"not an array",
        npy(np.eye(4, dtype=np.float64)),
        npy(np.ones(4, np.float32)),
        npy(np.empty((0, 4), np.float32)),
        npy(np.full((2, 4), 3, np.float32)),
        npy(np.full((2, 4), np.nan, np.float32)),
        npy(np.array([{"a": 1}], dtype=object)),
    ],
    ids=["words", "float64", "one row", "none", "not of length 1", "NaN", "pickle"],
)
def test_invalid_reference_array_is_refused(folder: Path, data: bytes) -> None:
    replace_reference(folder, data)
    with pytest.raises(ModelIntegrityError, match=REFERENCE):
        LoadedModel.load(folder)


def test_missing_reference_or_lone_threshold_is_refused(folder: Path) -> None:
    (folder / REFERENCE).unlink()
    with pytest.raises(ModelIntegrityError, match=f"{REFERENCE} is missing"):
        LoadedModel.load(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256s"][REFERENCE]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelIntegrityError, match="out_of_distribution_above together with"):
        Manifest.read(folder)


def test_threshold_without_a_class_is_named(folder: Path) -> None:
    values = dict.fromkeys(CLASSES[:3], 1)
    sets = {"coverage": 0.95, "lowest_probability": values, "count_group": values, "fitted_on": "validation"}
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "prediction_sets": sets}))
    with pytest.raises(ModelIntegrityError, match="pituitary"):
        Manifest.read(folder)


def test_score_is_mean_cosine_distance_to_five_nearest() -> None:
    random = np.random.default_rng(0)
    reference = normalized(random.normal(size=(40, 6)).astype(np.float32))
    embeddings = random.normal(size=(700, 6)).astype(np.float32)
    cosine = embeddings @ reference.T / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = np.sort(1 - cosine, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(distances(embeddings, reference), expected, atol=1e-6)
    np.testing.assert_allclose(distances(embeddings * 100, reference), expected, atol=1e-6)  # lengths are ignored
    np.testing.assert_allclose(distances(reference[:2], reference[:2])[0], (1 - cosine_of(reference)) / 2, atol=1e-6)
    assert distances(np.zeros((1, 6), np.float32), reference) == pytest.approx([1])
    assert distances(np.empty((0, 6), np.float32), reference).shape == (0,)


def test_scores_need_one_thread_and_equal_those_of_all_threads() -> None:
    random = np.random.default_rng(0)
    reference = normalized(random.random((2000, 512), np.float32))
    embeddings = random.random((1000, 512), np.float32)
    expected = np.partition(1 - normalized(embeddings) @ reference.T, 4, axis=1)[:, :5].mean(axis=1)
    before = [library["num_threads"] for library in threadpool_info()]
    wall, used = time.perf_counter(), time.process_time()
    scores = distances(embeddings, reference)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert used < 1.2 * wall + 0.05
    assert [library["num_threads"] for library in threadpool_info()] == before


def cosine_of(rows: NDArray[np.float32]) -> float:
    return float(rows[0] @ rows[1])


def test_references_keep_the_shares_of_classes() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [4000, 3000, 2000, 1000]))
    kept = spread(labels)
    assert len(set(kept.tolist())) == 2000
    assert np.bincount(labels[kept]) == pytest.approx([800, 600, 400, 200], abs=1)
    np.testing.assert_array_equal(kept, spread(labels))
    assert sorted(spread(labels[:30]).tolist()) == list(range(30))
