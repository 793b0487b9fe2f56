"""Compute the features of a frozen backbone once for all epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from braintumor.progress import progress
from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import Embeddings, cosine_distance
from braintumor.training.backbones import KerasModel
from braintumor.training.classifier import Classifier, export_graph
from braintumor.training.device import gpus

_PART = 64
"""Frames whose feature maps are in memory at a time, and after which the progress advances."""
_GPU_BATCH = 64
_PROBES = 8
_ROUNDING = 1e-6
"""Largest cosine distance between two embeddings that differ only by rounding."""

Embed = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
"""Frames uint8 (N, S, S, 3) -> outputs by name. A classifier's ``embedder`` gives ``embedding`` (N, d) and ``features``
(N, S/32, S/32, d)."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Hold the features that the head is fitted on.

    Attributes:
        pooled: float32 (N, d), each row the mean of the last feature map of a frame.
        mean_map: float32 (S/32, S/32, d), the mean of the N last feature maps.
    """

    pooled: NDArray[np.float32]
    mean_map: NDArray[np.float32]


class FeatureExtractor:
    """Run a frozen backbone over many frames, in parts that fit into memory. ``device`` names the backbone's device."""

    def __init__(self, embed: Embed, *, device: str) -> None:
        """Take the function ``embed``, which runs the backbone, and the name of the backbone's device."""
        self._embed = embed
        self.device = device

    @classmethod
    def fastest(cls, classifier: Classifier) -> FeatureExtractor:
        """Return an extractor that uses Keras on a GPU if there is one, and otherwise OpenVINO."""
        import keras

        devices = gpus()
        device = f"{devices[0]} (Keras on {keras.backend.backend()})" if devices else "cpu (OpenVINO)"
        return cls(fastest_embed(classifier.embedder), device=device)

    def extract(self, frames: NDArray[np.uint8], *, step: str = "Computing features") -> Features:
        """Return the features of ``frames``, uint8 (N, S, S, 3), N >= 1. The progress lines begin with ``step``."""
        pooled: list[NDArray[np.float32]] = []
        total: NDArray[np.float64] | float = 0.0
        with progress(step, len(frames)) as advance:
            for part in self._run(frames):
                pooled.append(part["embedding"])
                total = total + part["features"].sum(axis=0, dtype=np.float64)
                advance(len(part["embedding"]))
        return Features(pooled=np.concatenate(pooled), mean_map=np.asarray(total / len(frames), np.float32))

    def _run(self, frames: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
        for start in range(0, len(frames), _PART):
            yield self._embed(np.ascontiguousarray(frames[start : start + _PART]))


def fastest_embed(embedder: KerasModel) -> Embed:
    """Return a function that runs ``embedder`` with Keras on a GPU if there is one, and otherwise with OpenVINO.

    On a CPU, OpenVINO is twice as fast as Keras.
    """
    return through_keras(embedder) if gpus() else through_openvino(embedder)


def through_keras(embedder: KerasModel) -> Embed:
    """Return a function that runs ``embedder`` with Keras, on the device that Keras prefers."""

    def embed(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = embedder.predict(frames, batch_size=_GPU_BATCH, verbose=0)
        return {name: np.asarray(values) for name, values in outputs.items()}

    return embed


def through_openvino(embedder: KerasModel) -> Embed:
    """Export ``embedder``, and return a function that runs it with OpenVINO on the CPU."""
    with TemporaryDirectory() as scratch:
        export_graph(embedder, Path(scratch) / GRAPH)
        return OpenVinoBackend(Path(scratch) / GRAPH).run


def to_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return values as float16. Values beyond its range become its largest or smallest number, not infinity."""
    largest = float(np.finfo(np.float16).max)
    return np.clip(values, -largest, largest).astype(np.float16)


def as_served(backend: OpenVinoBackend, frames: NDArray[np.uint8], features: Embeddings) -> Embeddings:
    """Return the embeddings (N, d) that the exported graph computes for ``frames``.

    The graph first computes the embeddings of 8 frames. If they agree with ``features``, the function returns
    ``features``, because OpenVINO has computed both. Otherwise (on a GPU, Keras has computed ``features``) the graph
    computes the embeddings of all frames.

    Args:
        backend: runs the exported graph.
        frames: uint8 (N, S, S, 3).
        features: pooled features (N, d) that the training computed for the frames.
    """
    probe = backend.run(frames[:_PROBES])["embedding"]
    if cosine_distance(probe, features[:_PROBES]).max() <= _ROUNDING:
        return features
    return backend.run(frames)["embedding"]
