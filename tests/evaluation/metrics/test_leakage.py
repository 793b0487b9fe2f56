"""Tests of the leak check and of the accuracy by distance to training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from braintumor.config.settings import Settings
from braintumor.dataset.snapshot import Snapshot, SnapshotImage, load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.evaluation.gate.leak_check import unseen_images
from braintumor.evaluation.metrics.leakage import accuracy_by_distance
from braintumor.evaluation.report.tables import similarity_table
from braintumor.registry import model_versions
from braintumor.training.random_split_baseline import split_randomly


@pytest.fixture(scope="module")
def snapshot(seeded: Settings) -> Snapshot:
    engine = database.connect(seeded)
    loaded = load_snapshot(engine, model_versions.champion(engine).snapshot_id)
    engine.dispose()
    return loaded


def images_of_test(snapshot: Snapshot) -> set[str]:
    return {image.image_sha256 for image in snapshot.of_split(Split.TEST)}


def changed(snapshot: Snapshot, change: Callable[[SnapshotImage, SnapshotImage], SnapshotImage]) -> Snapshot:
    """Return the snapshot with a change of its first training image. ``change`` also gets the first test image."""
    seen, test = snapshot.of_split(Split.TRAIN)[0], snapshot.of_split(Split.TEST)[0]
    images = tuple(change(image, test) if image is seen else image for image in snapshot.images)
    return replace(snapshot, images=images)


def test_an_unchanged_snapshot_has_no_leak(snapshot: Snapshot) -> None:
    outcome = unseen_images(snapshot, images_of_test(snapshot))
    count = len(images_of_test(snapshot))
    assert outcome.passed and outcome.value == 0
    assert outcome.reason == (f"none of {count} test images is in the training split, or within 32 of 256 bits of it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda image, test: replace(image, perceptual_hash=test.perceptual_hash),
            "1 are within 32 bits of an image of its training split",
        ),
        (lambda image, test: replace(image, pixel_sha256=test.pixel_sha256), "1 are in its training split"),
        (lambda image, _: replace(image, split=Split.TEST), "1 of its test split were not evaluated"),
        (lambda image, _: replace(image, perceptual_hash=b""), "1 have no perceptual hash"),
    ],
    ids=["near-duplicate", "same pixels", "not judged", "no hash"],
)
def test_each_kind_of_leak_is_found(
    snapshot: Snapshot, change: Callable[[SnapshotImage, SnapshotImage], SnapshotImage], words: str
) -> None:
    outcome = unseen_images(changed(snapshot, change), images_of_test(snapshot))
    assert not outcome.passed and outcome.value == 1
    assert words in outcome.reason and "take a new snapshot" in outcome.reason


def test_training_and_unknown_images_are_found(snapshot: Snapshot) -> None:
    training = snapshot.of_split(Split.TRAIN)[0].image_sha256
    outcome = unseen_images(snapshot, images_of_test(snapshot) | {training, "unknown"})
    assert "1 are in its training split, 1 are not in its snapshot" in outcome.reason


def test_accuracy_is_counted_by_distance_to_training_images() -> None:
    bands = accuracy_by_distance([(33, True), (47, False), (47, False), (48, True), (256, True)])
    assert [(band.lowest, band.highest, band.count, band.count_correct) for band in bands] == [
        (0, 32, 0, 0),
        (33, 47, 3, 1),
        (48, 63, 1, 1),
        (64, 79, 0, 0),
        (80, 95, 0, 0),
        (96, 256, 1, 1),
    ]
    table = similarity_table(bands, grouped_accuracy=0.7, random_split_accuracy=0.9)
    assert table is not None
    assert table.rows[0][1:] == ("0", "no images")
    assert table.rows[1][1] == "3" and table.rows[1][2].startswith("0.333 (")
    assert [accuracy for *_, accuracy in table.rows[-2:]] == ["0.700", "0.900"]


def test_a_random_split_puts_duplicates_in_both_parts() -> None:
    files = np.repeat(np.arange(50), 2)
    fitted, held_out = split_randomly(files, share=0.2, seed=1)
    assert (len(fitted), len(held_out)) == (80, 20)
    np.testing.assert_array_equal(np.sort(np.concatenate([fitted, held_out])), files)
    assert len(set(fitted) & set(held_out)) > 10, "most of the held-out files have a duplicate in training"
    np.testing.assert_array_equal(split_randomly(files, share=0.2, seed=1)[1], held_out)
    assert set(split_randomly(files, share=0.2, seed=2)[1]) != set(held_out)
