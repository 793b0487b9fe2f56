"""What runs a model on frames: the interface of every engine, and the one through OpenVINO, asynchronous, on the CPU.

Measured on 2 AVX2 cores at 224x224, ResNet50: 18.5 frames/s here, 10.6 through Keras' ``predict`` in batches of 32.
The engine through TensorFlow, for workers with a GPU, is ``modelling.xla_engine``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError
from braintumor.imaging.preprocess import PREPROCESSING
from braintumor.serving.artefact import GRAPH, REFERENCE, Manifest, serving_sha256s, verify
from braintumor.serving.novelty import Embeddings, distances, read_reference

_BATCH = 8
"""Frames a request: large enough to amortise a request, small enough to keep both cores busy at a chunk's end."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the graph says of N frames.

    Attributes:
        probability: float32 (N, 4), calibrated, rows sum to 1.
        activation_map: float32 (N, S/32, S/32, 4), logits before temperature; its mean is the logit.
        embedding: float32 (N, d), the pooled features.
        out_of_distribution: float32 (N,), how far from the model's training images; ``None`` where it has none to ask.
    """

    probability: NDArray[np.float32]
    activation_map: NDArray[np.float32]
    embedding: NDArray[np.float32]
    out_of_distribution: NDArray[np.float32] | None = None


class EngineName(StrEnum):
    """What can answer, as it stands in ``scoring_run.engine`` and ``prediction.engine``."""

    OPENVINO = "openvino-cpu"
    XLA = "tensorflow-xla"


class Engine(Protocol):
    """A model made ready to run. One per process; not shared between threads."""

    name: EngineName
    device: str
    """What answers, for people: engine, processor, and what it may use of it."""

    def run(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The fields of ``Outputs`` by name, for ``frames`` uint8 (N, S, S, 3), N >= 1, in the order given."""


class OpenVinoEngine:
    """A compiled graph, in 32 or in 8 bits as it was exported."""

    name = EngineName.OPENVINO

    def __init__(self, graph: Path) -> None:
        """Compile ``graph`` (an OpenVINO ``.xml`` with its ``.bin`` beside it) for throughput."""
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(graph)
        except RuntimeError as exc:
            raise ModelIntegrityError(f"OpenVINO cannot read {graph}: {str(exc).splitlines()[0]}") from exc
        # f32 is pinned: on processors with native bfloat16 OpenVINO would otherwise change the answers silently.
        pinned = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", pinned)
        processor, threads = (
            core.get_property("CPU", "FULL_DEVICE_NAME"),
            compiled.get_property("INFERENCE_NUM_THREADS"),
        )
        self.device = f"{self.name}, {processor.strip()}, {threads} {'thread' if threads == 1 else 'threads'}"
        frames = model.input(0)
        self.input_type: str = frames.get_element_type().get_type_name()
        """Such as ``u8``."""
        self.input_shape = tuple(None if side.is_dynamic else side.get_length() for side in frames.get_partial_shape())
        """``None`` where any length is taken."""
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(_keep)

    def run(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Every output of the graph by name, for ``frames`` uint8 (N, S, S, 3), N >= 1, in the order given."""
        starts = range(0, len(frames), _BATCH)
        job = _Job(parts=[{} for _ in starts])
        for index, start in enumerate(starts):
            self._queue.start_async({0: frames[start : start + _BATCH]}, (job, index))
        self._queue.wait_all()
        parts, job.parts = job.parts, []  # the queue holds on to its last jobs: leave it nothing
        if job.failures:
            raise job.failures[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass
class _Job:
    """One call of ``run``: what its requests have answered so far, in order."""

    parts: list[dict[str, NDArray[np.float32]]]
    failures: list[Exception] = field(default_factory=list)


def _keep(request: Any, place: tuple[_Job, int]) -> None:
    """Copy a finished request's outputs. Set once: a callback that is replaced while it returns aborts the process."""
    job, index = place
    try:
        outputs = request.model_outputs
        job.parts[index] = {output.any_name: request.get_tensor(output).data.copy() for output in outputs}
    except Exception as exc:  # raised here, in OpenVINO's thread, it would abort the process too
        job.failures.append(exc)


class LoadedModel:
    """A model folder that was checked and compiled: frames in, ``Outputs`` out."""

    def __init__(self, manifest: Manifest, engine: Engine, *, reference: Embeddings | None = None) -> None:
        self.manifest = manifest
        self._engine = engine
        self._reference = reference

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        sha256s: dict[str, str] | None = None,
        open_engine: Callable[[Path, Manifest], Engine] | None = None,
    ) -> Self:
        """Verify the folder (against ``sha256s`` of the registry, or its own manifest), then compile it.

        ``open_engine`` makes another engine than OpenVINO of the checked folder.

        Raises:
            ModelIntegrityError: a file is missing, damaged, or not a graph of this project.
        """
        if sha256s is not None:
            verify(folder, serving_sha256s(sha256s))
        manifest = Manifest.read(folder)
        verify(folder, serving_sha256s(manifest.sha256s))
        if manifest.preprocessing != PREPROCESSING:
            raise ModelIntegrityError(
                f"Model {manifest.name} was trained on frames prepared as {manifest.preprocessing!r}; this version "
                f"prepares them as {PREPROCESSING!r}. Train the model again with this version."
            )
        reference = read_reference(folder / REFERENCE) if REFERENCE in manifest.sha256s else None
        engine = open_engine(folder, manifest) if open_engine else OpenVinoEngine(folder / GRAPH)
        return cls(manifest, engine, reference=reference)

    @property
    def engine(self) -> EngineName:
        """Which engine answers."""
        return self._engine.name

    @property
    def device(self) -> str:
        """What answers: engine, processor and threads."""
        return self._engine.device

    def predict(self, frames: NDArray[np.uint8]) -> Outputs:
        """Score ``frames`` uint8 (N, S, S, 3) with S the model's own size, N >= 0."""
        size = self.manifest.image_size
        if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3):
            raise ValueError(f"Frames must be uint8 (N, {size}, {size}, 3). Received {frames.dtype} {frames.shape}.")
        result = self._engine.run(frames)
        reference = self._reference
        outputs = Outputs(
            **{name: result[name] for name in ("probability", "activation_map", "embedding")},
            out_of_distribution=None if reference is None else distances(result["embedding"], reference),
        )
        if not np.isfinite(outputs.probability).all():
            raise ModelIntegrityError(f"Model {self.manifest.name} answered with NaN. Do not use it; train again.")
        return outputs
