"""Run a model with TensorFlow and XLA, the backend of workers with a GPU. On a CPU it is slower than OpenVINO.

The backend builds the network from the recorded recipe, with the registered Keras weights. Only the exported graph has
the baseline of the activation map (``training.classifier``). So the backend computes the baseline from the graph. The
backend refuses a network that disagrees with the graph, because temperature and thresholds were fitted for the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError, OutOfDeviceMemoryError
from braintumor.serving.artifact import GRAPH, KERAS_WEIGHTS, PARITY_BOUNDS, Manifest
from braintumor.serving.backend import BackendName, OpenVinoBackend, Result, padded
from braintumor.training.device import gpus, share_gpu_memory
from braintumor.training.export.keras_parity import recorded_model

_BATCH = 64
"""Initial number of frames per call."""

Call = Callable[[NDArray[np.uint8]], Mapping[str, Any]]
"""Frames uint8 (B, S, S, 3) -> output name -> array or tensor (B, ...)."""


class XlaBackend:
    """Run a network with XLA on the first GPU, or on the CPU of a machine without a GPU."""

    name = BackendName.XLA

    def __init__(self, folder: Path, manifest: Manifest, recipe: Mapping[str, Any]) -> None:
        """Build and compile the model of a checked folder, and compare the model with the exported graph.

        Args:
            folder: model folder whose sha256s were checked.
            manifest: manifest of the folder.
            recipe: values of the recorded recipe.

        Raises:
            ModelIntegrityError: the model disagrees with the graph.
            WeightsError: the weights do not fit this recipe.
            RecipeError: this version cannot build the recipe.
        """
        import tensorflow as tf

        share_gpu_memory()
        device = next(iter(gpus()), "cpu")
        self.device = f"{self.name}, {device}"
        model = recorded_model(recipe, folder / KERAS_WEIGHTS, temperature=manifest.temperature)
        compiled = tf.function(lambda frames: model(frames, training=False), jit_compile=True)
        self._batches = FixedBatches(compiled, device=self.device)
        self._baseline = _baseline(self._batches, OpenVinoBackend(folder / GRAPH), manifest)

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Compute the outputs for ``frames``, uint8 (N, S, S, 3), N >= 1, and return a function that returns them.

        That function returns each output by name, with the rows in the order of the frames. It does not wait, because
        ``submit`` itself has finished the computation.

        Raises:
            OutOfDeviceMemoryError: the memory does not suffice for one frame.
        """
        outputs = self._batches.run(frames)
        result = {**outputs, "activation_map": outputs["activation_map"] - self._baseline}
        return lambda: result


class FixedBatches:
    """Call a compiled function with a fixed number of frames, because XLA compiles again for each shape.

    A smaller batch is padded with copies of its last frame.
    """

    def __init__(self, call: Call, *, device: str) -> None:
        """Take the compiled function ``call``, and the name of its device for error messages."""
        self._call = call
        self._device = device
        self.size = _BATCH
        """Frames per call. The number is halved when memory does not suffice."""

    def run(self, frames: NDArray[np.uint8]) -> Result:
        """Return the outputs by name for ``frames`` uint8 (N, S, S, 3), N >= 1.

        Raises:
            OutOfDeviceMemoryError: the memory does not suffice for one frame.
        """
        parts: list[Result] = []
        done = 0
        while done < len(frames):
            part = self._run_once(frames[done : done + self.size])
            if part is not None:
                parts.append(part)
                done += len(part["probability"])
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_once(self, frames: NDArray[np.uint8]) -> Result | None:
        """Call the function once, and return its outputs, or ``None`` if the memory does not suffice.

        In that case ``size`` is halved, and the caller must try again with ``size`` frames.
        """
        from tensorflow.errors import ResourceExhaustedError

        try:
            outputs = self._call(padded(frames, self.size))
            return {name: np.asarray(values)[: len(frames)] for name, values in outputs.items()}
        except ResourceExhaustedError as exc:
            if self.size == 1:
                raise OutOfDeviceMemoryError(
                    f"The memory of {self._device} does not suffice for one frame. End other processes on it, or "
                    f"score on the CPU: BRAINTUMOR_BACKEND={BackendName.OPENVINO}."
                ) from exc
            self.size //= 2
            return None


def _baseline(batches: FixedBatches, graph: OpenVinoBackend, manifest: Manifest) -> NDArray[np.float32]:
    """Return the baseline (S/32, S/32, 4) that the graph subtracts from every activation map.

    Raises:
        ModelIntegrityError: the network in ``batches`` disagrees with the graph.
    """
    shape = (2, manifest.image_size, manifest.image_size, 3)
    probes = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ours, exported = batches.run(probes), graph.run(probes)
    difference = float(np.abs(ours["probability"] - exported["probability"]).max())
    if not difference <= PARITY_BOUNDS["fp32"]:  # NaN must not pass
        raise ModelIntegrityError(
            f"Model {manifest.name} disagrees with its exported graph in TensorFlow: a probability differs by "
            f"{difference:.2g}. Nothing was scored. Run `braintumor model verify {manifest.name}` for details."
        )
    baseline: NDArray[np.float32] = (ours["activation_map"] - exported["activation_map"]).mean(axis=0)
    return baseline
