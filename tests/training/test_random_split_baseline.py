"""Test that only duplicate files inflate the accuracy of a random split."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_SCRIPT = """
import json
import numpy as np
from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.split import Split
from braintumor.labels import CLASSES
from braintumor.training.random_split_baseline import random_split_accuracy
from braintumor.training.recipe import Recipe

rng = np.random.default_rng(0)
features, labels = rng.normal(size=(160, 256)).astype(np.float32), rng.integers(0, 4, 160)  # random labels

def part(chosen, count_file):
    images = tuple(SnapshotImage(image_sha256=str(i), pixel_sha256=str(i), perceptual_hash=b"", group_key=str(i),
        label=CLASSES[labels[i]], split=Split.TRAIN, image_uri="", attributes={}, count_file=count_file)
        for i in chosen)
    return FrameArrays(frames=np.zeros((len(images), 8, 8, 3), np.uint8), labels=labels[chosen], images=images)

def accuracy(count_file):
    training, validation = np.arange(120), np.arange(120, 160)
    recipe = Recipe.load("resnet50").override(initial_weights="random", epochs=6, patience=6, learning_rate=0.01)
    return random_split_accuracy(recipe, training=part(training, count_file), validation=part(validation, count_file),
        training_features=features[training], validation_features=features[validation])

print(json.dumps([accuracy(1), accuracy(4)]))
"""


@pytest.mark.soak
def test_duplicates_inflate_random_split_accuracy_on_noise() -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    single, copied = json.loads(done.stdout.splitlines()[-1])
    assert single < 0.45, "chance is 0.25 with four classes"
    assert copied > 0.9
