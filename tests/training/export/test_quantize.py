"""Test that an int8 export is a separate version with its own calibration, within bounds of its parent."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.special import softmax

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.errors import QuantizationError
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.backend import LoadedModel
from braintumor.training.calibration import fit_temperature
from braintumor.training.export.quantize import Bounds, Parity
from tests.conftest import run_braintumor
from tests.sql import rows

LOOSE = ("--max-changed", "0.3", "--max-accuracy-loss", "0.2")
"""The tests' model is too weak for real bounds, because it has random features and 16 validation images."""


@pytest.mark.soak
def test_int8_export_is_a_judged_version_and_not_promoted(settings: Settings, tiny_model_folder: Path) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    parent = model_versions.champion(engine)
    done = run_braintumor(settings, "model", "quantize", parent.model_name, *LOOSE, check=False)
    (made,) = model_versions.trained_in(engine, f"int8 of {parent.model_name}")
    assert (made.precision, made.snapshot_id, made.is_champion) == ("int8", parent.snapshot_id, False)
    assert rows(
        settings,
        "select split::text, count(*) from evaluation where model_version_id = :id group by split order by split::text",
        id=made.model_version_id,
    ) == [("test", 1), ("validation", 1)]
    ((verdict, against),) = rows(
        settings,
        "select is_passed, champion_model_version_id from gate_verdict where model_version_id = :id",
        id=made.model_version_id,
    )
    assert against == parent.model_version_id and done.returncode == (0 if verdict else 1)
    assert done.stdout.startswith(f"{made.model_name} is {parent.model_name} in 8 bits")
    assert "**" not in done.stdout and "|" not in done.stdout, "plain text in a terminal"
    trained = model_versions.training_of(engine, made)
    assert (trained.history, trained.grouped_accuracy, trained.naive_accuracy) == ({}, None, None)
    card = store.read(S3Uri.parse(made.artifact_uri) / "model_card.md").decode()
    assert "Epochs: none" in card
    assert "validation images" in done.stderr
    assert not Path("nncf_debug").exists(), "NNCF writes this folder if its log level is DEBUG"

    loaded = model_versions.load_model(store, settings, made)
    validation = load_frames(store, load_snapshot(engine, made.snapshot_id), Split.VALIDATION, size=made.image_size)
    outputs = loaded.predict(validation.frames)
    logits = outputs.activation_map.mean(axis=(1, 2))
    temperature = loaded.manifest.temperature
    assert outputs.probability == pytest.approx(softmax(logits / temperature, axis=1), abs=1e-4)
    assert temperature == pytest.approx(fit_temperature(logits, validation.labels), rel=1e-4)
    before = LoadedModel.load(tiny_model_folder).manifest
    assert temperature != before.temperature
    assert outputs.out_of_distribution is not None
    assert outputs.out_of_distribution.max() == pytest.approx(loaded.manifest.out_of_distribution_above)
    assert loaded.manifest.sha256s["reference.npy"] != before.sha256s["reference.npy"]
    count = len(model_versions.list_models(engine))
    run_braintumor(settings, "model", "quantize", parent.model_name, *LOOSE, check=False)
    assert len(model_versions.list_models(engine)) == count  # a second call returns the same export
    engine.dispose()


@pytest.mark.soak
def test_export_outside_bounds_is_not_registered(settings: Settings) -> None:
    engine = database.connect(settings)
    parent = model_versions.champion(engine)
    done = run_braintumor(settings, "model", "quantize", parent.model_name, "--max-changed", "0", check=False)
    assert done.returncode == 1
    assert "differs too much" in done.stderr and "Nothing was registered" in done.stderr
    assert model_versions.list_models(engine) == [parent]
    engine.dispose()


@pytest.mark.parametrize(
    ("changed", "accuracy", "is_refused"),
    [(0.02, 0.90, False), (0.021, 0.90, True), (0.0, 0.88, True), (0.0, 0.95, False)],
)
def test_parity_requires_both_bounds(changed: float, accuracy: float, is_refused: bool) -> None:
    parity = Parity(count=430, changed=changed, accuracy=accuracy, parent_accuracy=0.90)
    if not is_refused:
        parity.require(Bounds(changed=0.02, lost=0.01), name="m")
        return
    with pytest.raises(QuantizationError, match=r"int8 export of m differs too much: on 430 .* against 0\.900"):
        parity.require(Bounds(changed=0.02, lost=0.01), name="m")
