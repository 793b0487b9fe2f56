"""Test fine-tuning in subprocesses: its epochs, a kill and a full disk."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

_PRELUDE = """
import json, os, sys
from pathlib import Path
import numpy as np
from braintumor.dataset.frame_arrays import FrameArrays
from braintumor.dataset.snapshot import SnapshotImage
from braintumor.dataset.splits.split import Split
from braintumor.errors import TrainingError
from braintumor.imaging.phantom.slice import draw
from braintumor.imaging.letterbox import letterbox
from braintumor.labels import CLASSES
from braintumor.training.recipe import Recipe
from braintumor.training.train import train
from braintumor.serving.artifact import sha256_of

def frames(count, first):
    labels = np.arange(count) % 4
    drawn = [letterbox(draw(CLASSES[l], seed=first + i, size=96).pixels, size=64) for i, l in enumerate(labels)]
    images = tuple(SnapshotImage(image_sha256=str(i), pixel_sha256=str(i), perceptual_hash=b"", group_key=str(i),
        label=CLASSES[l], split=Split.TRAIN, image_uri="", attributes={}) for i, l in enumerate(labels))
    return FrameArrays(frames=np.stack(drawn), labels=labels.astype(np.int64), images=images)

recipe = Recipe.load("mobilenet_v2").override(
    initial_weights="random", image_size=64, epochs=2, flip_views=False, label_smoothing=0.05, class_weights=True)
recipe = Recipe.from_values({**recipe.to_values(),
    "augmentation": {"horizontal_flip": True, "rotation": 10, "width_shift": 0.1, "shear": 0.1, "zoom": 0.1},
    "fine_tuning": {"epochs": 3, "learning_rate": 1e-3, "freeze_batch_norm": False}})
base = Path(sys.argv[1])
def run(name, say=print):
    folder = base / name
    folder.mkdir(parents=True, exist_ok=True)
    return train(recipe, training=frames(48, 0), validation=frames(16, 1000), snapshot_id="s", weights=None,
                 folder=folder, checkpoints=base / "checkpoints" / name, say=say)
"""


def python(code: str, *arguments: str, exit_code: int = 0) -> str:
    script = _PRELUDE + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == exit_code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A fine-tuning that nobody interrupted, and what it said."""
    base = tmp_path_factory.mktemp("whole")
    said = python(
        """
        trained = run("whole")
        print("HISTORY" + json.dumps(trained.history))
        """,
        str(base),
    )
    return base, said


def history(said: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(said.rpartition("HISTORY")[2].splitlines()[0])
    return found


def test_every_epoch_is_logged_and_saved(whole: tuple[Path, str]) -> None:
    base, said = whole
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("fine-tuning")] == [
        f"fine-tuning epoch {epoch}" for epoch in (1, 2, 3)
    ]
    assert {len(values) for values in history(said).values()} == {3}
    assert len((base / "whole" / "history.csv").read_text().splitlines()) == 4
    kept = sorted(path.name for path in (base / "checkpoints" / "whole").iterdir())
    best = 1 + history(said)["val_loss"].index(min(history(said)["val_loss"]))
    assert kept == [f"best-{best:04}.npz", "epoch-0003.npz", "history.json"]


def test_best_weights_exclude_an_incomplete_epoch(tmp_path: Path) -> None:
    """Ended between two files, an epoch is trained again; what its first try left is in no history."""
    said = python(
        """
        import keras
        from braintumor.training.checkpoints import Checkpoints

        class Killed(BaseException): ...

        class Torn(Checkpoints):
            def _put(self, path, write):
                super()._put(path, write)
                if path.name == "best-0002.npz":
                    raise Killed

        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.compile(optimizer=keras.optimizers.AdamW(), loss="mse")
        kept = Torn(base / "torn")
        model.layers[-1].kernel.assign([[1.0]])
        kept.keep(model, {"val_loss": [0.5]}, is_best=True)
        model.layers[-1].kernel.assign([[2.0]])
        try:
            kept.keep(model, {"val_loss": [0.5, 0.1]}, is_best=True)
        except Killed:
            Checkpoints(base / "torn").restore_best(model)
        print("BEST", float(model.layers[-1].kernel[0, 0]))
        """,
        str(tmp_path),
    )
    assert "BEST 1.0" in said


def test_killed_training_resumes_with_the_same_result(whole: tuple[Path, str]) -> None:
    base, said = whole
    killed = 'run("killed", say=lambda words: os._exit(9) if words.startswith("fine-tuning epoch 2") else None)'
    python(killed, str(base), exit_code=9)
    resumed = python('print("HISTORY" + json.dumps(run("killed").history))', str(base))
    assert "resuming after epoch 2 of an interrupted training" in resumed
    assert "fine-tuning epoch 2" not in resumed
    for name, values in history(said).items():
        assert history(resumed)[name] == pytest.approx(values, rel=0.02, abs=0.02), name


def test_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    said = python(
        """
        import resource
        from braintumor.training import fine_tuning
        begin = fine_tuning._compile
        def then_full(*arguments, **named):
            begin(*arguments, **named)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        fine_tuning._compile = then_full
        try:
            run("full")
        except TrainingError as error:
            print("ERROR", error)
        """,
        str(tmp_path),
    )
    assert "ERROR Epoch 1 cannot be kept" in said and "BRAINTUMOR_CACHE_FOLDER" in said
    folder = tmp_path / "checkpoints" / "full"
    assert list(folder.iterdir()) == []


def test_augmented_views_depend_on_the_seed(tmp_path: Path) -> None:
    said = python(
        """
        from dataclasses import replace
        from braintumor.training.augmentation import augmented_views
        plain = frames(8, 0).frames
        two = replace(recipe.augmentation, views=2)
        first, second = augmented_views(plain, two, seed=1)
        again, _ = augmented_views(plain, two, seed=1)
        other, _ = augmented_views(plain, two, seed=2)
        print(first.dtype, first.shape == plain.shape, (first == again).all(),
              (first == other).all(), (first == second).all(), (first == plain).all())
        """,
        str(tmp_path),
    )
    assert said.split()[-6:] == ["uint8", "True", "True", "False", "False", "False"]


def test_batches_depend_only_on_seed_and_epoch(tmp_path: Path) -> None:
    said = python(
        """
        from braintumor.training.fit import Batches
        views, labels = [np.arange(10), np.arange(10) + 100], np.arange(10)
        def epoch(number, seed=1):
            batches = Batches(views, labels, batch_size=4, seed=seed)
            batches.epoch = number
            return [batches[i] for i in range(len(batches))]
        seen = [np.concatenate([x for x, _ in epoch(n)]) for n in range(3)]
        print([len(x) for x, _ in epoch(0)], [sorted(s.tolist()) == (np.arange(10) + 100 * (n % 2)).tolist()
              for n, s in enumerate(seen)])
        print((np.concatenate([x for x, _ in epoch(2)]) == seen[2]).all(), (seen[0] == seen[2]).all(),
              all((x % 100 == y).all() for x, y in epoch(1)))
        """,
        str(tmp_path),
    )
    assert said.splitlines()[-2:] == ["[4, 4, 2] [True, True, True]", "True False True"]


def test_unknown_layer_is_named_before_training(tmp_path: Path) -> None:
    said = python(
        """
        from dataclasses import replace
        from braintumor.errors import RecipeError
        from braintumor.training.classifier import Classifier
        from braintumor.training.fine_tuning import thaw
        network = Classifier(recipe).network
        thaw(network, replace(recipe.fine_tuning, from_layer="block_16_expand", freeze_batch_norm=True))
        trained = [layer.name for layer in network.layers if layer.trainable and layer.weights]
        print(trained[0], any("BN" in name for name in trained))
        try:
            thaw(network, replace(recipe.fine_tuning, from_layer="block_99"))
        except RecipeError as error:
            print(error)
        """,
        str(tmp_path),
    )
    assert "block_16_expand False" in said
    assert "no layer 'block_99'. Allowed: " in said
