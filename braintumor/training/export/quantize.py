"""Export a trained model with int8 weights and activations, which is about three times as fast on a CPU.

NNCF quantizes the exported graph after training. It measures the ranges of the activations on training images. The
predictions of the export differ from the predictions of its parent, the trained model. So the export is a separate
model version. The export has its own reference embeddings. Its temperature and thresholds are fitted again on
validation. An export that differs too much from its parent on validation is refused before any test-set evaluation.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from braintumor.config.settings import Settings
from braintumor.dataset.frame_arrays import FrameArrays, load_frames
from braintumor.dataset.snapshot import load_snapshot
from braintumor.dataset.splits.split import Split
from braintumor.db import database
from braintumor.errors import QuantizationError
from braintumor.progress import progress
from braintumor.registry import model_versions
from braintumor.registry.model_versions import ModelVersion
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, REFERENCE, Manifest, sha256_of
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import spread
from braintumor.training.calibration import Thresholds, fit_temperature, fit_thresholds

_log = logging.getLogger(__name__)
PRECISION = "int8"
_ROUNDING = 1e-9
"""Tolerance for binary fractions: 0.92 - 0.91 is slightly above 0.01, and must pass a bound of 0.01."""
_HEAD = "MatMul"
"""Operation of the head, which is not quantized: it costs little time and loses accuracy in 8 bits.

See docs/decisions/0018.
"""
_WITH_BIAS = {"Convolution", "GroupConvolution"}
"""Operations whose biases NNCF corrects."""
_IMAGES = 300
"""Number of training images whose activations are measured. This is the default of NNCF."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limit how much an export may differ from its parent on validation.

    Attributes:
        changed: largest share of predictions whose class differs from the parent's.
        lost: largest loss of accuracy against the parent.
    """

    changed: float
    lost: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Hold the comparison of an export with its parent on the validation split.

    Attributes:
        count: number of images.
        changed: share of predictions whose class differs from the parent's.
        accuracy: accuracy of the export.
        parent_accuracy: accuracy of the parent.
    """

    count: int
    changed: float
    accuracy: float
    parent_accuracy: float

    @property
    def words(self) -> str:
        """Return the comparison as text."""
        return (
            f"on {self.count} validation images {self.changed:.1%} of the predictions change class, accuracy "
            f"{self.accuracy:.3f} against {self.parent_accuracy:.3f}"
        )

    def require(self, bounds: Bounds, *, name: str) -> None:
        """Check that the export is within the bounds.

        Args:
            bounds: the bounds.
            name: name of the parent, for the message.

        Raises:
            QuantizationError: the export exceeds a bound.
        """
        lost = self.parent_accuracy - self.accuracy
        if self.changed <= bounds.changed and lost <= bounds.lost + _ROUNDING:
            return
        raise QuantizationError(
            f"The int8 export of {name} differs too much: {self.words}. Allowed: {bounds.changed:.1%} changed, "
            f"{bounds.lost} of accuracy lost. Nothing was registered. Continue to use {name}."
        )


def quantize_model(settings: Settings, name: str, *, bounds: Bounds) -> tuple[ModelVersion, str]:
    """Register the int8 export of a model, or return the registered export if it is not pruned or withdrawn.

    Args:
        settings: connections to Postgres and S3.
        name: name or number of the parent model.
        bounds: largest allowed differences between export and parent.

    Returns:
        The export and its run key. The export must pass the gate like any candidate.

    Raises:
        ModelIntegrityError: the model does not exist, or its files have changed.
        QuantizationError: the model is an int8 export, NNCF is not installed, or the export is not within ``bounds``.
    """
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    parent = model_versions.find_model(engine, name)
    if parent.precision == PRECISION:
        raise QuantizationError(f"{parent.model_name} is an int8 export. Name its parent model.")
    known, run_key = model_versions.derived_model(engine, f"{PRECISION} of {parent.model_name}")
    if known is not None:
        return known, run_key
    started = time.monotonic()
    snapshot = load_snapshot(engine, parent.snapshot_id)
    with TemporaryDirectory() as scratch:
        _, parity = quantize(
            model_versions.fetch_model(store, settings, parent),
            training=load_frames(store, snapshot, Split.TRAIN, size=parent.image_size),
            validation=load_frames(store, snapshot, Split.VALIDATION, size=parent.image_size),
            folder=Path(scratch),
        )
        _log.info("%s: %s", run_key, parity.words)
        parity.require(bounds, name=parent.model_name)
        training = model_versions.training_of(engine, parent)
        export = model_versions.register(
            engine,
            store,
            folder=Path(scratch),
            training=replace(
                training,
                run_key=run_key,
                history={},  # the export was not trained
                grouped_accuracy=None,
                naive_accuracy=None,
                library_versions=training.library_versions | {"nncf": version("nncf"), "openvino": version("openvino")},
                device="cpu (OpenVINO)",
                seconds=time.monotonic() - started,
            ),
            models_uri=S3Uri.parse_prefix(settings.require("models_uri")),
            parent=parent,
        )
    _log.info("registered %s", export.model_name)
    return export, run_key


def quantize(parent: Path, *, training: FrameArrays, validation: FrameArrays, folder: Path) -> tuple[Manifest, Parity]:
    """Write the int8 export of the model folder ``parent``, with its own manifest, into ``folder``.

    Args:
        parent: a complete and checked model folder.
        training: images whose activations set the ranges of the 8-bit values, and whose embeddings are the reference.
        validation: images for the fit of temperature and thresholds, and for the comparison with the parent.
        folder: an empty folder.

    Returns:
        The manifest of the export, and the comparison of the export with its parent.

    Raises:
        QuantizationError: NNCF is not installed.
    """
    graph = quantized(
        parent / GRAPH, training.frames[:_IMAGES]
    )  # a random sample, because the images of a snapshot are in the order of their sha256
    backend = OpenVinoBackend(_save(graph, folder, temperature=1.0))
    outputs = backend.run(validation.frames)
    logits = _logits(outputs)
    temperature = fit_temperature(logits, validation.labels)
    thresholds = fit_thresholds(
        folder,
        reference=backend.run(training.frames[spread(training.labels)])["embedding"],
        embeddings=outputs["embedding"],
        probability=softmax(logits / temperature, axis=1),
        labels=validation.labels,
        groups=validation.groups,
    )
    del backend, outputs  # they hold the file of the graph, which is written again
    _save(graph, folder, temperature=temperature)
    manifest = _manifest(Manifest.read(parent), folder, thresholds, temperature)
    manifest.write(folder)
    return manifest, _parity(logits, _logits(OpenVinoBackend(parent / GRAPH).run(validation.frames)), validation.labels)


def quantized(graph: Path, frames: NDArray[np.uint8]) -> Any:
    """Return a copy of an OpenVINO graph in 8 bits. The head stays in 32 bits.

    Args:
        graph: file of the graph.
        frames: uint8 (N, S, S, 3), the training images whose activations set the ranges of the 8-bit values.

    Raises:
        QuantizationError: NNCF is not installed.
    """
    import openvino

    try:
        import nncf
    except ImportError as exc:
        raise QuantizationError(
            "NNCF is not installed on this machine, so no model can be quantized. Install the extra `train`: "
            "pip install 'braintumor[train]'."
        ) from exc
    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(graph)
    with redirect_stdout(StringIO()), _quantization_steps(model, len(frames)) as advance:  # hide NNCF's progress bars

        def read(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
            advance(1)
            return frame[None]

        return nncf.quantize(
            model,
            nncf.Dataset(frames, read),
            subset_size=len(frames),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(types=[_HEAD]),
        )


@contextmanager
def _quantization_steps(model: Any, count_frame: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of NNCF: the frames whose activations are measured, then the layers whose biases are corrected.

    The yielded function counts frames. NNCF names the corrected layers only in its debug log.
    """
    layers = sum(op.get_type_name() in _WITH_BIAS for op in model.get_ops())
    log = logging.getLogger("nncf")
    with progress("Quantizing", count_frame + layers, unit="steps") as advance:

        def count(record: logging.LogRecord) -> bool:
            advance(int("bias" in record.getMessage()))
            return record.levelno >= logging.ERROR

        log.addFilter(count)
        log.setLevel(logging.DEBUG - 1)  # because NNCF writes debug files into the current folder at level DEBUG
        try:
            yield advance
        finally:
            log.removeFilter(count)
            log.setLevel(logging.ERROR)


def _save(graph: Any, folder: Path, *, temperature: float) -> Path:
    """Write the graph with a new last step, and return the path of the file.

    The step is probability = softmax(mean(activation map) / temperature).
    """
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
    model = openvino.Model([ops.result(output) for output in outputs.values()], graph.get_parameters(), "classifier")
    openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    return folder / GRAPH


def _logits(outputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the logits (N, 4), not divided by the temperature."""
    logits: NDArray[np.float32] = outputs["activation_map"].mean(axis=(1, 2))
    return logits


def _parity(logits: NDArray[np.float32], parent_logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Parity:
    predicted, parent = logits.argmax(axis=1), parent_logits.argmax(axis=1)
    return Parity(
        count=len(labels),
        changed=float((predicted != parent).mean()),
        accuracy=float((predicted == labels).mean()),
        parent_accuracy=float((parent == labels).mean()),
    )


def _manifest(parent: Manifest, folder: Path, thresholds: Thresholds, temperature: float) -> Manifest:
    return replace(
        parent,
        precision=PRECISION,
        trained_at=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",  # a second export, after a pruning, needs its own name
        temperature=temperature,
        out_of_distribution_above=thresholds.out_of_distribution_above,
        prediction_sets=thresholds.prediction_sets,
        sha256s={name: sha256_of(folder / name) for name in (GRAPH, GRAPH_WEIGHTS, REFERENCE)},
    )
