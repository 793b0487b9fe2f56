"""A model through TensorFlow and XLA: the engine of workers with a GPU. It runs on a CPU too, slower than OpenVINO.

The network is built anew from the recipe on record, with the registered Keras weights. What the activation map
subtracts lies in the exported graph only, so it is taken from there; and a network that does not say what the graph
says is refused, since it answers with the graph's temperature and thresholds.
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
"""Frames a call, to begin with."""

Call = Callable[[NDArray[np.uint8]], Mapping[str, Any]]
"""Frames (B, S, S, 3) -> arrays or tensors by name, their first axis B."""


class XlaBackend:
    """A network under XLA, on the first GPU or, without one, on the CPU."""

    name = BackendName.XLA

    def __init__(self, folder: Path, manifest: Manifest, recipe: Mapping[str, Any]) -> None:
        """Build and compile the model of a checked folder, and compare it with the exported graph.

        Raises:
            ModelIntegrityError: it does not say what the graph says.
            WeightsError: the weights are not of this recipe.
            RecipeError: the recipe is none that this version can build.
        """
        import tensorflow as tf

        share_gpu_memory()
        found = gpus()
        self.device = f"{self.name}, {found[0] if found else 'cpu'}"
        model = recorded_model(recipe, folder / KERAS_WEIGHTS, temperature=manifest.temperature)
        compiled = tf.function(lambda frames: model(frames, training=False), jit_compile=True)
        self._batches = FixedBatches(compiled, device=self.device)
        self._baseline = _baseline(self._batches, OpenVinoBackend(folder / GRAPH), manifest)

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Every output by name for ``frames`` uint8 (N, S, S, 3), N >= 1, in the order given; done when it returns.

        Raises:
            OutOfDeviceMemoryError: as of ``FixedBatches.run``.
        """
        outputs = self._batches.run(frames)
        found = {**outputs, "activation_map": outputs["activation_map"] - self._baseline}
        return lambda: found


class FixedBatches:
    """Frames through a compiled call, always as many at once, the last ones padded: XLA compiles each shape anew."""

    def __init__(self, call: Call, *, device: str) -> None:
        """``device`` is named where its memory does not suffice."""
        self._call = call
        self._device = device
        self.size = _BATCH
        """Frames a call; smaller once memory did not suffice."""

    def run(self, frames: NDArray[np.uint8]) -> Result:
        """Every output by name for ``frames`` uint8 (N, S, S, 3), N >= 1; where memory does not suffice, by halves.

        Raises:
            OutOfDeviceMemoryError: it does not suffice for one frame.
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
        """One call; ``None`` when it is to be tried again with fewer frames."""
        from tensorflow.errors import ResourceExhaustedError

        try:
            outputs = self._call(padded(frames, self.size))
            return {name: np.asarray(values)[: len(frames)] for name, values in outputs.items()}
        except ResourceExhaustedError as exc:
            if self.size == 1:
                raise OutOfDeviceMemoryError(
                    f"The memory of {self._device} does not suffice for one frame. End what else uses the device, or "
                    f"score on the CPU: BRAINTUMOR_BACKEND={BackendName.OPENVINO}."
                ) from exc
            self.size //= 2
            return None


def _baseline(batches: FixedBatches, graph: OpenVinoBackend, manifest: Manifest) -> NDArray[np.float32]:
    """What the graph's activation map (S/32, S/32, 4) subtracts, alike for every frame."""
    shape = (2, manifest.image_size, manifest.image_size, 3)
    probes = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ours, exported = batches.run(probes), graph.run(probes)
    difference = float(np.abs(ours["probability"] - exported["probability"]).max())
    if not difference <= PARITY_BOUNDS["fp32"]:  # NaN must not pass
        raise ModelIntegrityError(
            f"Model {manifest.name} says through TensorFlow what its exported graph does not: a probability differs by "
            f"{difference:.2g}. Nothing was scored. `braintumor model verify {manifest.name}` looks closer."
        )
    baseline: NDArray[np.float32] = (ours["activation_map"] - exported["activation_map"]).mean(axis=0)
    return baseline
