"""Test that a run with TensorFlow and XLA gives the predictions of OpenVINO, and halves batches on lack of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import ConfigurationError, ModelIntegrityError, OutOfDeviceMemoryError
from braintumor.evaluation.gate.artifact_checks import fixed_frames
from braintumor.registry import model_versions
from braintumor.scoring.job import ScoringJob, run_scoring_job
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import LoadedModel
from braintumor.training.export.xla_engine import FixedBatches, XlaBackend
from tests.conftest import Put
from tests.images import png
from tests.sql import change, rows

FRAMES = np.arange(37, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


class Device:
    """Simulate a device with memory for a number of frames. More frames raise TensorFlow's error."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.calls: list[int] = []

    def __call__(self, frames: NDArray[np.uint8]) -> Mapping[str, Any]:
        from tensorflow.errors import ResourceExhaustedError

        self.calls.append(len(frames))
        if len(frames) > self.holds:
            raise ResourceExhaustedError(None, None, "out of memory")
        return {"probability": frames[:, 0, 0, :1].astype(np.float32)}


@pytest.mark.parametrize(("holds", "size"), [(64, 64), (63, 32), (9, 8), (1, 1)])
def test_out_of_memory_halves_batches_and_keeps_all_frames(holds: int, size: int) -> None:
    device = Device(holds)
    batches = FixedBatches(device, device="gpu:0")
    for _ in range(2):
        np.testing.assert_array_equal(batches.run(FRAMES)["probability"][:, 0], np.arange(37))
    assert batches.size == size
    assert set(device.calls) == {64 >> halved for halved in range((64 // size).bit_length())}  # no other shape
    assert sum(count > holds for count in device.calls) == (64 // size).bit_length() - 1


def test_device_without_memory_for_one_frame_is_an_error() -> None:
    with pytest.raises(OutOfDeviceMemoryError, match=r"gpu:0 does not suffice for one frame.*BRAINTUMOR_BACKEND"):
        FixedBatches(Device(0), device="gpu:0").run(FRAMES)


def test_weights_that_differ_from_the_graph_are_refused(engine: Engine, tiny_model_folder: Path) -> None:
    recipe = model_versions.training_of(engine, model_versions.champion(engine)).recipe
    manifest = replace(Manifest.read(tiny_model_folder), temperature=30.0)
    with pytest.raises(ModelIntegrityError, match="disagrees with its exported graph in TensorFlow"):
        XlaBackend(tiny_model_folder, manifest, recipe)


def test_xla_run_gives_outputs_of_graph_and_stores_backend(
    settings: Settings, put: Put, tiny_model_folder: Path
) -> None:
    for seed in range(3):
        put(f"{seed}.png", png(seed=seed))
    job = ScoringJob.open(replace(settings, backend="tensorflow-xla"))
    run, _ = job.begin(run_key="night")
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    ((ours, _),) = job._models.values()
    require_same_outputs(ours, LoadedModel.load(tiny_model_folder))
    assert job.reconcile(run.scoring_run_id).count_scored == 3
    xla = rows(settings, "select predicted_class::text, confidence from prediction order by scan_id")
    assert rows(settings, "select engine from scoring_run union all select distinct engine from prediction") == [
        ("tensorflow-xla",), ("tensorflow-xla",),
    ]  # fmt: skip
    change(settings, "delete from prediction")
    change(settings, "update scan set state = 'pending', processed_at = null")
    run_scoring_job(settings, run_key="again")
    again = rows(settings, "select predicted_class::text, confidence from prediction order by scan_id")
    assert [row[0] for row in xla] == [row[0] for row in again]
    assert [row[1] for row in xla] == pytest.approx([row[1] for row in again], abs=1e-4)


def require_same_outputs(ours: LoadedModel, graph: LoadedModel) -> None:
    frames = fixed_frames(graph.manifest.image_size)
    one, other = ours.predict(frames), graph.predict(frames)
    for name, bound in {"probability": 1e-4, "activation_map": 1e-3, "embedding": 1e-3}.items():
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=bound, err_msg=name)
    assert str(ours.backend) == "tensorflow-xla" and ours.device.startswith("tensorflow-xla, ")


def test_unusable_backend_opens_no_run(settings: Settings) -> None:
    with pytest.raises(
        ConfigurationError, match=r"BRAINTUMOR_BACKEND is 'cuda'\. Set it to openvino-cpu or tensorflow-xla"
    ):
        run_scoring_job(replace(settings, backend="cuda"), run_key="night")
    change(settings, "update model_version set precision = 'int8'")
    with pytest.raises(ConfigurationError, match="precision int8, which only openvino-cpu runs"):
        run_scoring_job(replace(settings, backend="tensorflow-xla"), run_key="night")
    assert rows(settings, "select count(*) from scoring_run") == [(0,)]
