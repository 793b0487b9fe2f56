"""A second export of a trained model: int8 weights and activations, about three times as fast on a CPU.

Post-training quantization (NNCF) of the served graph, with ranges measured on training images. What it answers is not
what its parent answers, so it is a model version of its own: its reference embeddings are its own, its temperature and
thresholds are fitted anew on validation, and it is refused there when it strays too far, before the test split is asked
anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import FrameArrays, load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.errors import QuantizationError
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import spread
from braintumor.training.calibration import Thresholds, fit_thresholds
from braintumor.training.temperature import fit_temperature

PRECISION = "int8"
_HEAD = "MatMul"
"""The head stays as it is: it is no work, and its answers come apart in 8 bits. See docs/decisions/0018."""
_IMAGES = 300
"""Training images whose activations are measured: NNCF's own default."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How far an export may stray on validation.

    Attributes:
        changed: share of the answers that may name another class than the parent's.
        lost: how much lower the accuracy may be.
    """

    changed: float
    lost: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """An export beside its parent, on the validation split.

    Attributes:
        count: images.
        changed: share of the answers that name another class.
        accuracy: of the export.
        parent_accuracy: of its parent.
    """

    count: int
    changed: float
    accuracy: float
    parent_accuracy: float

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"on {self.count} validation images {self.changed:.1%} of the answers name another class, accuracy "
            f"{self.accuracy:.3f} against {self.parent_accuracy:.3f}"
        )

    def require(self, bounds: Bounds, *, name: str) -> None:
        """Refuse an export that strays.

        Raises:
            QuantizationError: with the figures and the bounds.
        """
        if self.changed <= bounds.changed and self.parent_accuracy - self.accuracy <= bounds.lost:
            return
        raise QuantizationError(
            f"The int8 export of {name} is not its equal: {self.words}. Allowed: {bounds.changed:.1%} changed, "
            f"{bounds.lost} of accuracy lost. Nothing was registered; go on with {name} itself."
        )


def quantize_model(
    settings: Settings, name: str, *, bounds: Bounds, say: Callable[[str], None] = lambda _: None
) -> tuple[ModelVersion, str]:
    """Register the int8 export of a model; asked again, it returns the one that is there.

    Returns it and the key of the run that it counts as: it has to pass the gate like any candidate.

    Raises:
        ModelIntegrityError: there is no such model, or its files are not what was registered.
        QuantizationError: it is an int8 export already, NNCF is not installed, or the export strays from its parent.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    parent = model_versions.find_model(engine, name)
    run_key = f"{PRECISION} of {parent.model_name}"
    if parent.precision == PRECISION:
        raise QuantizationError(f"{parent.model_name} is an int8 export already. Name the model that it came from.")
    for known in model_versions.trained_in(engine, run_key):
        return known, run_key
    started = time.monotonic()
    snapshot = load_snapshot(engine, parent.snapshot_id)
    with TemporaryDirectory() as scratch:
        manifest, parity = quantize(
            model_versions.fetch_model(store, settings, parent),
            training=load_frames(store, snapshot, Split.TRAIN, size=parent.image_size),
            validation=load_frames(store, snapshot, Split.VALIDATION, size=parent.image_size),
            folder=Path(scratch),
        )
        say(f"{run_key}: {parity.words}")
        parity.require(bounds, name=parent.model_name)
        training = model_versions.training_of(engine, parent)
        made = model_versions.register(
            engine,
            store,
            folder=Path(scratch),
            manifest=manifest,
            training=replace(
                training,
                run_key=run_key,
                history={},  # it was not trained, and what its parent's training showed is its parent's
                grouped_accuracy=None,
                naive_accuracy=None,
                library_versions=training.library_versions | {"nncf": version("nncf"), "openvino": version("openvino")},
                device="cpu (OpenVINO)",
                seconds=time.monotonic() - started,
            ),
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
            parent=parent,
        )
    say(f"registered {made.model_name}")
    return made, run_key


def quantize(parent: Path, *, training: FrameArrays, validation: FrameArrays, folder: Path) -> tuple[Manifest, Parity]:
    """Write the int8 export of the model folder ``parent`` into ``folder``, with a manifest of its own.

    Args:
        parent: a whole model folder, already checked.
        training: images whose activations set the ranges, and whose embeddings are the reference.
        validation: fits temperature and thresholds, and measures the parity; the parent's size.
        folder: an empty folder.

    Raises:
        QuantizationError: NNCF is not installed.
    """
    graph = quantized(parent / GRAPH, training.frames[:_IMAGES])  # the snapshot's order is by hash
    made = OpenVinoBackend(_save(graph, folder, temperature=1.0))
    said = made.run(validation.frames)
    logits = _logits(said)
    temperature = fit_temperature(logits, validation.labels)
    thresholds = fit_thresholds(
        folder,
        reference=made.run(training.frames[spread(training.labels)])["embedding"],
        embeddings=said["embedding"],
        logits=logits,
        temperature=temperature,
        labels=validation.labels,
    )
    del made, said  # the graph's file is written again
    _save(graph, folder, temperature=temperature)
    manifest = _manifest(Manifest.read(parent), folder, thresholds, temperature)
    manifest.write(folder)
    return manifest, _parity(logits, _logits(OpenVinoBackend(parent / GRAPH).run(validation.frames)), validation.labels)


def quantized(graph: Path, frames: NDArray[np.uint8]) -> Any:
    """An OpenVINO graph in 8 bits, but for its head, with ranges from ``frames`` uint8 (N, S, S, 3).

    Raises:
        QuantizationError: NNCF is not installed.
    """
    import logging

    import openvino

    try:
        import nncf
    except ImportError as exc:
        raise QuantizationError(
            "NNCF is not installed here, so nothing can be quantized. It comes with the extra `train`: "
            "pip install 'braintumor[train]'."
        ) from exc
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(StringIO()):  # its progress bars
        return nncf.quantize(
            openvino.Core().read_model(graph),
            nncf.Dataset([frame[None] for frame in frames]),
            subset_size=len(frames),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(types=[_HEAD]),
        )


def _save(graph: Any, folder: Path, *, temperature: float) -> Path:
    """Write the graph with its last step made anew: probability = softmax(mean(activation map) / temperature)."""
    import openvino
    from openvino import opset13 as ops

    activation_map, embedding = (
        graph.output(name).get_node().input_value(0) for name in ("activation_map", "embedding")
    )
    logits = ops.reduce_mean(activation_map, np.array([1, 2], np.int64), keep_dims=False)
    outputs = {
        "probability": ops.softmax(ops.divide(logits, np.float32(temperature)), axis=1).output(0),
        "activation_map": activation_map,
        "embedding": embedding,
    }
    for name, output in outputs.items():
        output.get_tensor().set_names({name})
    made = openvino.Model([ops.result(output) for output in outputs.values()], graph.get_parameters(), "classifier")
    openvino.save_model(made, folder / GRAPH, compress_to_fp16=False)
    return folder / GRAPH


def _logits(outputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, 4), before temperature."""
    logits: NDArray[np.float32] = outputs["activation_map"].mean(axis=(1, 2))
    return logits


def _parity(ours: NDArray[np.float32], theirs: NDArray[np.float32], labels: NDArray[np.int64]) -> Parity:
    own, parents = ours.argmax(axis=1), theirs.argmax(axis=1)
    return Parity(
        count=len(labels),
        changed=float((own != parents).mean()),
        accuracy=float((own == labels).mean()),
        parent_accuracy=float((parents == labels).mean()),
    )


def _manifest(parent: Manifest, folder: Path, thresholds: Thresholds, temperature: float) -> Manifest:
    return replace(
        parent,
        precision=PRECISION,
        temperature=temperature,
        low_confidence_below=thresholds.low_confidence_below,
        out_of_distribution_above=thresholds.out_of_distribution_above,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS, REFERENCE)},
    )
