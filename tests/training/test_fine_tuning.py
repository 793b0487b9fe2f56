"""Test fine-tuning in subprocesses: its epochs, a kill and a full disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.keras_checks import run_check

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder and the output of an uninterrupted fine-tuning."""
    base = tmp_path_factory.mktemp("whole")
    return base, run_check("train_whole", base)


def history(output: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = json.loads(output.rpartition("HISTORY")[2].splitlines()[0])
    return values


def test_every_epoch_is_logged_and_saved(whole: tuple[Path, str]) -> None:
    base, output = whole
    assert [line.split(":")[0] for line in output.splitlines() if line.startswith("fine-tuning")] == [
        f"fine-tuning epoch {epoch}" for epoch in (1, 2, 3)
    ]
    assert {len(values) for values in history(output).values()} == {3}
    assert len((base / "whole" / "history.csv").read_text().splitlines()) == 4
    saved = sorted(path.name for path in (base / "checkpoints" / "whole").iterdir())
    best = 1 + history(output)["val_loss"].index(min(history(output)["val_loss"]))
    assert saved == [f"best-{best:04}.npz", "epoch-0003.npz", "history.json"]


def test_best_weights_exclude_an_incomplete_epoch(tmp_path: Path) -> None:
    """An epoch that ended between two files is trained again, and its first try is in no history."""
    output = run_check("incomplete_epoch", tmp_path)
    assert "BEST 1.0" in output and "ADDED True ['val_loss']" in output


def test_killed_training_resumes_with_the_same_result(whole: tuple[Path, str]) -> None:
    base, output = whole
    run_check("train_killed", base, exit_code=9)
    resumed = run_check("train_resumed", base)
    assert "resuming after epoch 2 of an interrupted training" in resumed
    assert "fine-tuning epoch 2" not in resumed
    for name, values in history(output).items():
        assert history(resumed)[name] == pytest.approx(values, rel=0.02, abs=0.02), name


def test_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    output = run_check("train_on_full_disk", tmp_path)
    assert "ERROR Epoch 1 cannot be kept" in output and "BRAINTUMOR_CACHE_FOLDER" in output
    folder = tmp_path / "checkpoints" / "full"
    assert list(folder.iterdir()) == []


def test_augmented_views_depend_on_the_seed(tmp_path: Path) -> None:
    output = run_check("augmented_views", tmp_path)
    assert output.split()[-6:] == ["uint8", "True", "True", "False", "False", "False"]


def test_mixup_mixes_inputs_and_targets_by_the_same_share(tmp_path: Path) -> None:
    assert run_check("mixed_batches", tmp_path).split() == ["True", "True", "True", "True", "True", "False"]


def test_batches_depend_only_on_seed_and_epoch(tmp_path: Path) -> None:
    output = run_check("batches", tmp_path)
    assert output.splitlines()[-2:] == ["[4, 4, 2] [True, True, True]", "True False True"]


def test_unknown_layer_is_named_before_training(tmp_path: Path) -> None:
    output = run_check("unknown_layer", tmp_path)
    assert "block_16_expand False" in output
    assert "no layer 'block_99'. Allowed: " in output


@pytest.mark.parametrize(
    ("backbone", "layer", "shape"),
    [
        ("resnet50", "conv4_block1_1_conv", "(5, 4, 4, 512)"),  # a quarter of 8 x 8: the layers above read no more
        ("vgg16", "block5_conv1", "(5, 4, 4, 512)"),
        ("resnet50", "conv5_block2_1_conv", "(5, 2, 2, 2048)"),  # a layer of the block above also adds these
    ],
)
def test_cached_outputs_give_the_same_feature_map(backbone: str, layer: str, shape: str, tmp_path: Path) -> None:
    output = run_check("lower_layers", f"{backbone},{layer},{tmp_path}").splitlines()[-2:]
    assert output[0].startswith(f"{shape} True False "), output
    assert output[1] == "True", "a stored view was computed again"


def test_layer_with_a_path_around_it_is_refused(tmp_path: Path) -> None:
    output = run_check("lower_layers", f"mobilenet_v2_fine,block_11_depthwise,{tmp_path}")
    assert "'block_11_depthwise'. Give the first layer of a block" in output


def test_cached_fine_tuning_changes_only_upper_layers(tmp_path: Path) -> None:
    epochs, files = run_check("cached_fine_tuning", tmp_path).splitlines()[-2:]
    assert epochs == "3 ['block5_conv1', 'block5_conv2', 'block5_conv3']"
    assert files == "['lower-00.npy', 'lower-01.npy', 'lower-02.npy', 'lower-validation.npy']"
