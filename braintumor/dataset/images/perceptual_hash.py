"""Compare images by a perceptual hash that includes flips and quarter turns.

Training mirrors images, so a mirrored duplicate is the same image to the model. Public datasets have thousands of
mirrored duplicates. So each image is hashed in its eight orientations, which are the flips and quarter turns. The
distance of two images is the smallest Hamming distance between one unchanged image and any orientation of the other.
It is the same in both directions.

The hash is the DCT hash of ``imagehash`` (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010). It has 256 bits and is computed from a 64 x 64 thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.letterbox import letterbox

NEAR = 32
"""Largest Hamming distance, of 256 bits, at which two images count as near: duplicates or neighboring slices of a head.

The value was chosen by inspection of the SARTAJ dataset: see docs/decisions/0011.
"""

_SIDE = 16
_THUMBNAIL = 64
_BLOCK = 64
"""Rows of the distance matrix in memory at a time. More rows do not fit into the processor's cache."""
_TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)

Hashes = NDArray[np.uint64]
"""uint64 (8, 4): orientation, 64-bit word. The first orientation is the unchanged image."""


def perceptual_hashes(pixels: NDArray[np.uint8]) -> Hashes:
    """Return the hashes (8, 4) of an image uint8 (H, W) or (H, W, 3) in its eight orientations."""
    thumbnail = Image.fromarray(letterbox(pixels, size=_THUMBNAIL)).convert("L")
    turned = [thumbnail if turn is None else thumbnail.transpose(turn) for turn in _TURNS]
    bits = [imagehash.phash(image, hash_size=_SIDE).hash.ravel() for image in turned]
    return np.packbits(np.stack(bits), axis=1).view(np.uint64)


def from_bytes(stored: Iterable[bytes]) -> NDArray[np.uint64]:
    """Return the hashes uint64 (N, 8, 4) of N images: image, orientation, 64-bit word.

    Args:
        stored: ``perceptual_hashes(...).tobytes()`` of each image. No item may be empty.
    """
    return np.frombuffer(b"".join(stored), np.uint64).reshape(-1, len(_TURNS), _SIDE**2 // 64)


def near_pairs(hashes: NDArray[np.uint64], first: int = 0) -> Iterator[tuple[int, int, int]]:
    """Yield (i, j, distance), i < j, for every pair of images with a distance of ``NEAR`` or less.

    Args:
        hashes: (N, 8, 4): image, orientation, 64-bit word.
        first: smallest j. The images before it are not compared with each other.
    """
    for start in range(first, len(hashes), _BLOCK):
        end = min(start + _BLOCK, len(hashes))
        ((_, distances),) = _distances(hashes[start:end], hashes[:end])
        rows, columns = np.nonzero(distances <= NEAR)
        for row, column in zip(rows + start, columns, strict=True):
            if column < row:
                yield int(column), int(row), int(distances[row - start, column])


def nearest(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the nearest image of ``among`` for each image of ``hashes``.

    Args:
        hashes: (N, 8, 4): image, orientation, 64-bit word.
        among: (M, 8, 4), M >= 1, with the same axes.

    Returns:
        Positions (N,) in ``among`` and distances (N,) in bits.
    """
    blocks = [(block.argmin(axis=1), block.min(axis=1)) for _, block in _distances(hashes, among)]
    if not blocks:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    positions, distances = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return positions, distances.astype(np.int64)


def _distances(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Yield blocks of rows of the distance matrix (N, M), each block after the number of its first row.

    Both directions are compared, because the hash of a mirrored image is not exactly the mirrored hash.

    Args:
        hashes: (N, 8, 4): image, orientation, 64-bit word.
        among: (M, 8, 4), other images with the same axes.
    """
    words = np.ascontiguousarray(among.transpose(1, 2, 0))
    orientations = range(len(words))
    compared = [(0, turn) for turn in orientations] + [(turn, 0) for turn in orientations[1:]]
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK, :, :, None]
        best = np.full((len(block), len(among)), np.iinfo(np.uint16).max, np.uint16)
        for ours, theirs in compared:
            bits = np.zeros_like(best)
            for word, others in enumerate(words[theirs]):
                bits += np.bitwise_count(block[:, ours, word] ^ others)
            np.minimum(best, bits, out=best)
        yield start, best
