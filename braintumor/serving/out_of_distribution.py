"""Measure how far a frame is from a model's training images, in the embedding space of the served graph.

The score is the mean cosine distance to the 5 nearest reference embeddings, which are embeddings of training images. 0
means the same direction, 1 means orthogonal. The score does not use softmax probabilities, because these can be
confident far from the training data (docs/decisions/0021).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from braintumor.errors import ModelIntegrityError

Embeddings = NDArray[np.float32]

NEIGHBORS = 5
MAX_REFERENCES = 2000
_TABLE_DIMENSIONS = 2
_ROUNDING = 1e-3
_BLOCK = 256
"""Number of frames per comparison. The distances of 256 frames from 2,000 reference embeddings take 2 MB."""


def distances(embeddings: Embeddings, reference: Embeddings) -> NDArray[np.float32]:
    """Return the out-of-distribution score of each embedding (N, d) as float32 (N,).

    ``reference`` (M, d), M >= 1, are the reference embeddings. Each of its rows has length 1 or is zero.
    """
    count = min(NEIGHBORS, len(reference))
    scores = np.empty(len(embeddings), np.float32)
    with _blas().limit(limits=1):  # because inference keeps all cores busy, and waiting BLAS threads use them
        for start in range(0, len(embeddings), _BLOCK):
            block = slice(start, start + _BLOCK)
            apart = 1 - normalized(embeddings[block]) @ reference.T  # (<= 256, M)
            scores[block] = np.partition(apart, count - 1, axis=1)[:, :count].mean(axis=1)
    return np.maximum(scores, 0)  # because rounding can make a distance negative


@cache
def _blas() -> ThreadpoolController:
    """Return the controller of numpy's BLAS. The search for the library takes milliseconds, so it runs once."""
    return ThreadpoolController().select(user_api="blas")


def cosine_distance(ours: Embeddings, theirs: Embeddings) -> NDArray[np.float32]:
    """Return the cosine distance between row i of ``ours`` (N, d) and row i of ``theirs`` (N, d), float32 (N,)."""
    return np.asarray(1 - (normalized(ours) * normalized(theirs)).sum(axis=1), np.float32)


def normalized(embeddings: Embeddings) -> Embeddings:
    """Return embeddings (N, d) with each row divided by its length.

    A row of zeros stays zero, so its cosine distance from every row is 1.
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def spread(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Select at most 2,000 of N training images as reference images, and return their positions among the N images.

    Each class keeps its share. The result is deterministic. ``labels`` (N,) are positions in ``CLASSES``.
    """
    by_class = np.argsort(labels, kind="stable")
    count = min(len(labels), MAX_REFERENCES)
    return by_class[np.linspace(0, len(labels) - 1, count).round().astype(np.int64)]


def read_reference(path: Path) -> Embeddings:
    """Return the reference embeddings, float32 (M, d), from ``reference.npy``. The function unpickles nothing.

    Raises ``ModelIntegrityError`` if the file is not such an array, or a row's length is not 1 or 0.
    """
    try:
        with path.open("rb") as stream:
            reference = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise ModelIntegrityError(
            f"{path} is not an array of reference embeddings: {exc}. Train the model again."
        ) from exc
    is_table = reference.dtype == np.float32 and reference.ndim == _TABLE_DIMENSIONS and len(reference) > 0
    lengths = np.linalg.norm(reference, axis=1) if is_table else np.array([np.nan])
    if not ((np.abs(lengths - 1) < _ROUNDING) | (lengths == 0)).all():  # false for NaN
        raise ModelIntegrityError(
            f"{path} must hold float32 (M, d), M of 1 or more, each row of length 1. Received {reference.dtype} "
            f"{reference.shape}. Train the model again."
        )
    return np.ascontiguousarray(reference)
