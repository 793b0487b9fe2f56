"""Features of a frozen backbone, computed once for every epoch to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend
from braintumor.serving.out_of_distribution import Embeddings, cosine_distance
from braintumor.training.classifier import Classifier, export_graph
from braintumor.training.device import gpus

_SLICE = 256
"""Frames whose whole feature maps are in memory at a time."""
_GPU_BATCH = 64
_PROBES = 8
_SAME = 1e-6
"""Largest cosine distance between embeddings that are the same but for rounding."""

Embed = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]
"""Frames (N, S, S, 3) -> ``embedding`` (N, d) and ``features`` (N, S/32, S/32, d)."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the head is fitted on.

    Attributes:
        pooled: float32 (N, d).
        mean_map: float32 (S/32, S/32, d), the mean of the N last feature maps.
    """

    pooled: NDArray[np.float32]
    mean_map: NDArray[np.float32]


class FeatureExtractor:
    """A frozen backbone, run over many frames by slices that fit into memory. ``device`` says where it runs."""

    def __init__(self, embed: Embed, *, device: str) -> None:
        """Take the backbone as somebody runs it."""
        self._embed = embed
        self.device = device

    @classmethod
    def fastest(cls, classifier: Classifier) -> FeatureExtractor:
        """Keras on the first GPU that it sees; else the engine that will serve, twice as fast as Keras on a CPU."""
        import keras

        found = gpus()
        if found:
            return cls(through_keras(classifier), device=f"{found[0]} (Keras on {keras.backend.backend()})")
        return cls(through_openvino(classifier), device="cpu (OpenVINO)")

    def extract(self, frames: NDArray[np.uint8]) -> Features:
        """Features of frames (N, S, S, 3), N >= 1."""
        pooled: list[NDArray[np.float32]] = []
        total: NDArray[np.float64] | float = 0.0
        for part in self._run(frames):
            pooled.append(part["embedding"])
            total = total + part["features"].sum(axis=0, dtype=np.float64)
        return Features(pooled=np.concatenate(pooled), mean_map=np.asarray(total / len(frames), np.float32))

    def _run(self, frames: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
        for start in range(0, len(frames), _SLICE):
            yield self._embed(np.ascontiguousarray(frames[start : start + _SLICE]))


def through_keras(classifier: Classifier) -> Embed:
    """The backbone as Keras runs it, on the device that Keras prefers."""

    def embed(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = classifier.embedder.predict(frames, batch_size=_GPU_BATCH, verbose=0)
        return {name: np.asarray(values) for name, values in outputs.items()}

    return embed


def through_openvino(classifier: Classifier) -> Embed:
    """The backbone exported and compiled for the CPU."""
    with TemporaryDirectory() as scratch:
        export_graph(classifier.embedder, Path(scratch) / GRAPH)
        return OpenVinoBackend(Path(scratch) / GRAPH).run


def as_served(engine: OpenVinoBackend, frames: NDArray[np.uint8], features: Embeddings) -> Embeddings:
    """Embeddings (N, d) of the graph that will serve: ``features`` where some of them are the same, else made anew.

    On a CPU they are the same, since one engine made both; on a GPU it was Keras that made the features.
    """
    probe = engine.run(frames[:_PROBES])["embedding"]
    if cosine_distance(probe, features[:_PROBES]).max() <= _SAME:
        return features
    return engine.run(frames)["embedding"]
