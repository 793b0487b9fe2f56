"""How far a frame is from everything that a model was trained on, by the embeddings of the graph that serves it.

The score is the mean cosine distance to the 5 nearest of the model's reference embeddings, those of training images: 0
is the same direction, 1 at right angles. A softmax is sure of itself far from its training data too; a distance is
not. See docs/decisions/0021.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braintumor.errors import ModelIntegrityError

Embeddings = NDArray[np.float32]

NEIGHBORS = 5
MOST_REFERENCES = 2000
_TABLE = 2
"""Dimensions."""
_ROUNDING = 1e-3
_BLOCK = 256
"""Frames compared at a time: with 2,000 references their distances take 2 MB."""


def distances(embeddings: Embeddings, reference: Embeddings) -> NDArray[np.float32]:
    """The score of each of ``embeddings`` (N, d) against ``reference`` (M, d), which is of length 1; float32 (N,)."""
    count = min(NEIGHBORS, len(reference))
    found = np.empty(len(embeddings), np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = 1 - normalized(embeddings[block]) @ reference.T  # (<= 256, M)
        found[block] = np.partition(apart, count - 1, axis=1)[:, :count].mean(axis=1)
    return np.maximum(found, 0)  # rounding


def cosine_distance(ours: Embeddings, theirs: Embeddings) -> NDArray[np.float32]:
    """Between the rows of two arrays (N, d), one by one: float32 (N,)."""
    return np.asarray(1 - (normalized(ours) * normalized(theirs)).sum(axis=1), np.float32)


def normalized(embeddings: Embeddings) -> Embeddings:
    """Each row divided by its length; a row of zeros stays one, at distance 1 from everything."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def spread(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of N training images are references: at most 2,000, each class by its share, always the same ones."""
    by_class = np.argsort(labels, kind="stable")
    count = min(len(labels), MOST_REFERENCES)
    return by_class[np.linspace(0, len(labels) - 1, count).round().astype(np.int64)]


def read_reference(path: Path) -> Embeddings:
    """Load ``reference.npy``, float32 (M, d), without unpickling anything.

    Raises:
        ModelIntegrityError: it is no array of rows of length 1, or 0 where an embedding is all zeros.
    """
    try:
        with path.open("rb") as stream:
            reference = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise ModelIntegrityError(f"{path} is no array of reference embeddings: {exc}. Train the model again.") from exc
    is_table = reference.dtype == np.float32 and reference.ndim == _TABLE and len(reference) > 0
    lengths = np.linalg.norm(reference, axis=1) if is_table else np.array([np.nan])
    if not ((np.abs(lengths - 1) < _ROUNDING) | (lengths == 0)).all():  # NaN must not pass
        raise ModelIntegrityError(
            f"{path} must hold float32 (M, d), M of 1 or more, each row of length 1. Received {reference.dtype} "
            f"{reference.shape}. Train the model again."
        )
    return np.ascontiguousarray(reference)
