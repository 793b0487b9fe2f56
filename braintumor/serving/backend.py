"""What runs a model on frames: the interface of every engine, and the one through OpenVINO, asynchronous, on the CPU.

Measured on 2 AVX2 cores at 224x224, ResNet50: 18.5 frames/s here, 10.6 through Keras' ``predict`` in batches of 32.
The engine through TensorFlow, for workers with a GPU, is ``modeling.xla_engine``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.serving.artifact import GRAPH, REFERENCE, Manifest, serving_sha256s, verify
from braintumor.serving.out_of_distribution import Embeddings, distances, read_reference

_BATCH = 4
"""Frames a request, always: a graph compiled for one number of frames is quicker than one that takes any. See
docs/performance.md for the sizes tried."""
_REQUESTS_A_STREAM = 8
"""That may be under way: the next step's are queued before the last one's are done, so that no core waits."""

Result = dict[str, NDArray[np.float32]]
"""The fields of ``Outputs`` by name."""


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


class BackendName(StrEnum):
    """What can answer, as it stands in ``scoring_run.engine`` and ``prediction.engine``."""

    OPENVINO = "openvino-cpu"
    XLA = "tensorflow-xla"


class InferenceBackend(Protocol):
    """A model made ready to run. One per process; not shared between threads."""

    name: BackendName
    device: str
    """What answers, for people: engine, processor, and what it may use of it."""

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Begin with ``frames`` uint8 (N, S, S, 3), N >= 1; what is returned waits for the answers, in their order."""


class OpenVinoBackend:
    """A compiled graph, in 32 or in 8 bits as it was exported."""

    name = BackendName.OPENVINO

    def __init__(self, graph: Path) -> None:
        """Compile ``graph`` (an OpenVINO ``.xml`` with its ``.bin`` beside it) for throughput."""
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(graph)
            frames = model.input(0)
            self.input_type: str = frames.get_element_type().get_type_name()
            """Such as ``u8``."""
            shape = frames.get_partial_shape()
            self.input_shape = tuple(None if side.is_dynamic else side.get_length() for side in shape)
            """As exported, ``None`` where any length is taken."""
            shape[0] = _BATCH
            model.reshape(shape)
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
        self._compiled = compiled
        self._most_requests = _REQUESTS_A_STREAM * compiled.get_property("NUM_STREAMS")
        self._idle: list[Any] = []
        self._running: deque[_Part] = deque()

    def run(self, frames: NDArray[np.uint8]) -> Result:
        """Every output of the graph by name, for ``frames`` uint8 (N, S, S, 3), N >= 1, in the order given."""
        return self.submit(frames)()

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Queue ``frames``, waiting only where too much is queued already; what is returned waits for the answers."""
        parts = [self._start(frames[at : at + _BATCH]) for at in range(0, len(frames), _BATCH)]

        def answers() -> Result:
            for part in parts:
                while part.is_running:
                    self._collect_oldest()
            results = [part.answer() for part in parts]
            return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

        return answers

    def _start(self, frames: NDArray[np.uint8]) -> _Part:
        if len(self._running) >= self._most_requests:
            self._collect_oldest()
        request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        part = _Part(request=request, count=len(frames))
        part.request.start_async({0: padded(frames, _BATCH)})
        self._running.append(part)
        return part

    def _collect_oldest(self) -> None:
        part = self._running.popleft()
        self._idle.append(part.collect())


@dataclass(kw_only=True)
class _Part:
    """Frames under way in one request."""

    request: Any
    count: int
    """How many; the request's other answers are of padding."""
    outcome: Result | Exception | None = None

    @property
    def is_running(self) -> bool:
        """Not collected yet."""
        return self.outcome is None

    def collect(self) -> Any:
        """Wait, and copy what the request has to say, which is then free for others."""
        try:
            self.request.wait()
            outputs = self.request.model_outputs
            self.outcome = {
                output.any_name: self.request.get_tensor(output).data[: self.count].copy() for output in outputs
            }
        except Exception as exc:  # it belongs to those who asked, not to those who wait
            self.outcome = exc
        return self.request

    def answer(self) -> Result:
        """What was collected."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome


def padded(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """``frames`` (N, ...), N >= 1, and the last of them again until there are ``count``."""
    missing = count - len(frames)
    return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing else frames


class LoadedModel:
    """A model folder that was checked and compiled: frames in, ``Outputs`` out."""

    def __init__(self, manifest: Manifest, engine: InferenceBackend, *, reference: Embeddings | None = None) -> None:
        self.manifest = manifest
        self._engine = engine
        self._reference = reference

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        sha256s: dict[str, str] | None = None,
        open_engine: Callable[[Path, Manifest], InferenceBackend] | None = None,
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
        engine = open_engine(folder, manifest) if open_engine else OpenVinoBackend(folder / GRAPH)
        return cls(manifest, engine, reference=reference)

    @property
    def engine(self) -> BackendName:
        """Which engine answers."""
        return self._engine.name

    @property
    def device(self) -> str:
        """What answers: engine, processor and threads."""
        return self._engine.device

    def predict(self, frames: NDArray[np.uint8]) -> Outputs:
        """Score ``frames`` uint8 (N, S, S, 3) with S the model's own size, N >= 1."""
        return self.submit(frames)()

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Outputs]:
        """Begin to score ``frames``, as of ``predict``; what is returned waits for the outputs.

        Who submits the next frames before waiting for these leaves the engine no pause.
        """
        size = self.manifest.image_size
        if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3):
            raise ValueError(f"Frames must be uint8 (N, {size}, {size}, 3). Received {frames.dtype} {frames.shape}.")
        answers = self._engine.submit(frames)
        return lambda: self._outputs(answers())

    def _outputs(self, result: Result) -> Outputs:
        reference = self._reference
        outputs = Outputs(
            **{name: result[name] for name in ("probability", "activation_map", "embedding")},
            out_of_distribution=None if reference is None else distances(result["embedding"], reference),
        )
        if not np.isfinite(outputs.probability).all():
            raise ModelIntegrityError(f"Model {self.manifest.name} answered with NaN. Do not use it; train again.")
        return outputs
