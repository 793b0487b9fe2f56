"""Define the interface of all inference backends, the asynchronous OpenVINO backend for CPUs, and ``LoadedModel``.

On 2 AVX2 cores, the OpenVINO backend predicts 18.5 frames/s with ResNet50 at 224x224. Keras' ``predict`` in batches of
32 predicts 10.6 frames/s. The TensorFlow backend for workers with a GPU is ``training.export.xla_engine``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.progress import progress
from braintumor.serving.artifact import GRAPH, REFERENCE, Manifest, serving_sha256s, verify
from braintumor.serving.out_of_distribution import Embeddings, distances, read_reference

_BATCH = 4
"""Number of frames in every request. A graph compiled for a fixed number of frames is faster than a graph compiled for
any number. On a Sapphire Rapids CPU, ResNet50 in 8 bits predicts 367 frames/s if compiled for 4 frames. The speed is
364 frames/s if compiled for 1 frame, and 301 if compiled for any number."""
_PART = 64
"""Number of frames after which the displayed progress advances."""
_REQUESTS_PER_STREAM = 8
"""Largest number of requests in progress per OpenVINO stream, so that all cores stay busy when a request ends."""

Result = dict[str, NDArray[np.float32]]
"""The arrays that the graph returns, by name. The names are fields of ``Outputs``."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The outputs of a model for N frames. S is the model's image size in pixels.

    Attributes:
        probability: float32 (N, 4): frame, class. Calibrated probabilities. The sum of each row is 1.
        activation_map: float32 (N, S/32, S/32, 4): frame, row, column, class. Logits before temperature. Their mean
            over the rows and columns is the logit of the class.
        embedding: float32 (N, d), the pooled features.
        out_of_distribution: float32 (N,), distance from the model's training images. ``None`` if the model has no
            reference embeddings.
    """

    probability: NDArray[np.float32]
    activation_map: NDArray[np.float32]
    embedding: NDArray[np.float32]
    out_of_distribution: NDArray[np.float32] | None = None


class BackendName(StrEnum):
    """Names of the inference backends, as in the columns ``scoring_run.engine`` and ``prediction.engine``."""

    OPENVINO = "openvino-cpu"
    XLA = "tensorflow-xla"


class InferenceBackend(Protocol):
    """A compiled model on one device. Threads must not share a backend."""

    name: BackendName
    device: str
    """Text for display: the backend, the processor, and the part of the processor that the backend may use."""

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Start inference on uint8 (N, S, S, 3), N >= 1, and return a function that waits for the result.

        The rows of the result have the order of ``frames``.
        """


class OpenVinoBackend:
    """The inference backend for CPUs: an OpenVINO graph with 32-bit or 8-bit weights, as exported."""

    name = BackendName.OPENVINO

    def __init__(self, graph: Path) -> None:
        """Compile a graph (``.xml`` next to its ``.bin``) for throughput.

        Raises ``ModelIntegrityError`` if OpenVINO cannot read it.
        """
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(graph)
            frames = model.input(0)
            self.input_type: str = frames.get_element_type().get_type_name()
            """OpenVINO's name of the input's element type, such as ``u8``."""
            shape = frames.get_partial_shape()
            self.input_shape = tuple(None if side.is_dynamic else side.get_length() for side in shape)
            """Shape of the input in the exported graph, with ``None`` for a dynamic length."""
            shape[0] = _BATCH
            model.reshape(shape)
        except RuntimeError as exc:
            raise ModelIntegrityError(f"OpenVINO cannot read {graph}: {str(exc).splitlines()[0]}") from exc
        # because OpenVINO otherwise computes in bfloat16 on processors that support it, which changes predictions
        pinned = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", pinned)
        processor = core.get_property("CPU", "FULL_DEVICE_NAME")
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        self.device = f"{self.name}, {processor.strip()}, {threads} {'thread' if threads == 1 else 'threads'}"
        self._compiled = compiled
        self._max_requests = _REQUESTS_PER_STREAM * compiled.get_property("NUM_STREAMS")
        self._idle: list[Any] = []
        self._running: deque[_Request] = deque()

    def run(self, frames: NDArray[np.uint8]) -> Result:
        """Return every output of the graph by name, for ``frames`` uint8 (N, S, S, 3), N >= 1, in their order."""
        return _run(self, frames)

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Queue ``frames``, uint8 (N, S, S, 3), N >= 1, and return a function that waits for the result.

        The method itself waits only while the queue is full.
        """
        requests = [self._start(frames[at : at + _BATCH]) for at in range(0, len(frames), _BATCH)]

        def wait() -> Result:
            for request in requests:
                while not request.result.done():
                    self._collect_oldest()
            results = [request.result.result() for request in requests]
            return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

        return wait

    def _start(self, frames: NDArray[np.uint8]) -> _Request:
        if len(self._running) >= self._max_requests:
            self._collect_oldest()
        infer_request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        infer_request.start_async({0: padded(frames, _BATCH)})
        request = _Request(infer_request=infer_request, count=len(frames))
        self._running.append(request)
        return request

    def _collect_oldest(self) -> None:
        request = self._running.popleft()
        request.collect()
        self._idle.append(request.infer_request)


def _run(backend: InferenceBackend, frames: NDArray[np.uint8]) -> Result:
    """Return the outputs of ``backend`` by name, with rows in the order of ``frames``, and show the progress."""
    waits = []
    with progress("Predicting", len(frames)) as advance:
        for at in range(0, len(frames), _PART):
            part = frames[at : at + _PART]
            waits.append(backend.submit(part))
            advance(len(part))
        results = [wait() for wait in waits]
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


@dataclass(frozen=True, kw_only=True)
class _Request:
    """One inference request in progress. ``count`` is its number of frames without padding."""

    infer_request: Any
    count: int
    result: Future[Result] = field(default_factory=Future)

    def collect(self) -> None:
        """Wait for this request, and copy its outputs into ``result``, because the OpenVINO request is used again."""
        try:
            self.infer_request.wait()
            outputs = self.infer_request.model_outputs
            self.result.set_result(
                {output.any_name: self.infer_request.get_tensor(output).data[: self.count].copy() for output in outputs}
            )
        except Exception as exc:  # stored for the caller that submitted it, because another caller may be collecting
            self.result.set_exception(exc)


def padded(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Return ``frames`` (N, ...), N >= 1, followed by copies of the last frame, ``count`` frames in total."""
    missing = count - len(frames)
    return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing else frames


class LoadedModel:
    """A model that is ready to predict: its folder is verified, and its graph is compiled."""

    def __init__(self, manifest: Manifest, backend: InferenceBackend, *, reference: Embeddings | None = None) -> None:
        self.manifest = manifest
        self._backend = backend
        self._reference = reference

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        verified: dict[str, str] | None = None,
        open_backend: Callable[[Path, Manifest], InferenceBackend] | None = None,
    ) -> Self:
        """Return the model of a folder, after the files are verified and the graph is compiled.

        Args:
            folder: the model folder.
            verified: the registry's hex sha256s, by file name, if the caller has just hashed the files. Then the method
                compares them with those of the manifest. Otherwise the method hashes the files.
            open_backend: opens another backend than OpenVINO for the verified folder.

        Raises:
            ModelIntegrityError: a file is missing, damaged or not a graph of this project, or the model's preprocessing
                has another version.
        """
        manifest = Manifest.read(folder)
        if verified is None:
            verify(folder, serving_sha256s(manifest.sha256s))
        else:
            manifest.require_sha256s(verified)
        if manifest.preprocessing != PREPROCESSING:
            raise ModelIntegrityError(
                f"Model {manifest.name} was trained on frames prepared as {manifest.preprocessing!r}. This version "
                f"prepares them as {PREPROCESSING!r}. Train the model again with this version."
            )
        reference = read_reference(folder / REFERENCE) if REFERENCE in manifest.sha256s else None
        backend = open_backend(folder, manifest) if open_backend else OpenVinoBackend(folder / GRAPH)
        return cls(manifest, backend, reference=reference)

    @property
    def backend(self) -> BackendName:
        """Return the name of the backend."""
        return self._backend.name

    @property
    def device(self) -> str:
        """Return a text for display that names the backend and the device on which it runs."""
        return self._backend.device

    def predict(self, frames: NDArray[np.uint8]) -> Outputs:
        """Return the outputs of the model for ``frames``, uint8 (N, S, S, 3), N >= 1. S is the model's image size.

        Raises:
            ValueError: the frames have another shape or type.
            ModelIntegrityError: a probability is not finite.
        """
        self._require_frames(frames)
        return self._outputs(_run(self._backend, frames))

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Outputs]:
        """Start the prediction of ``frames``, as for ``predict``, and return a function that waits for the outputs.

        To keep the backend busy, submit the next frames before waiting for these outputs. Only the returned function
        raises ``ModelIntegrityError``.
        """
        self._require_frames(frames)
        wait = self._backend.submit(frames)
        return lambda: self._outputs(wait())

    def _require_frames(self, frames: NDArray[np.uint8]) -> None:
        size = self.manifest.image_size
        if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3):
            raise ValueError(f"Frames must be uint8 (N, {size}, {size}, 3). Received {frames.dtype} {frames.shape}.")

    def _outputs(self, result: Result) -> Outputs:
        reference = self._reference
        outputs = Outputs(
            **{name: result[name] for name in ("probability", "activation_map", "embedding")},
            out_of_distribution=None if reference is None else distances(result["embedding"], reference),
        )
        if not np.isfinite(outputs.probability).all():
            raise ModelIntegrityError(
                f"Model {self.manifest.name} predicted NaN. Do not use it. Train the model again."
            )
        return outputs
