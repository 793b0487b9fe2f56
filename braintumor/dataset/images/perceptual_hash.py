"""What makes two images the same picture: a perceptual hash that sees flips and quarter turns.

A mirrored copy is the same image to a model that is trained on mirrored images, and public sets hold thousands of them.
So each image is hashed in all eight of its flips and turns, and two images are as far apart as the nearest of these.

The hash is the DCT hash of ``imagehash`` (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010), 256 bits of a 64 x 64 thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from braintumor.imaging.letterbox import letterbox

NEAR = 32
"""Largest Hamming distance, of 256 bits, at which two images are one picture or neighboring slices of one head.

Chosen by looking at SARTAJ: see docs/decisions/0011.
"""

_SIDE = 16
_THUMBNAIL = 64
_BLOCK = 512
"""Rows of distances in memory at a time."""
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
"""(8, 4): 256 bits of each of the eight flips and turns, the image as it is first."""


def perceptual_hashes(pixels: NDArray[np.uint8]) -> Hashes:
    """Hash an image (H, W) or (H, W, 3) in its eight flips and turns."""
    thumbnail = Image.fromarray(letterbox(pixels, size=_THUMBNAIL)).convert("L")
    bits = [imagehash.phash(_turned(thumbnail, turn), hash_size=_SIDE).hash.ravel() for turn in _TURNS]
    return np.packbits(np.stack(bits), axis=1).view(np.uint64)


def from_bytes(stored: Iterable[bytes]) -> NDArray[np.uint64]:
    """Read back the ``perceptual_hashes(...).tobytes()`` of N images, none of them empty: (N, 8, 4)."""
    return np.frombuffer(b"".join(stored), np.uint64).reshape(-1, len(_TURNS), _SIDE**2 // 64)


def near_pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """Every pair of images at most ``NEAR`` apart, as (i, j, distance) with i < j, for hashes (N, 8, 4)."""
    for start, distances in _distances(hashes[:, 0], hashes):
        rows, columns = np.nonzero(distances <= NEAR)
        for row, column in zip(rows + start, columns, strict=True):
            if row < column:
                yield int(row), int(column), int(distances[row - start, column])


def nearest(hashes: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """For each of ``hashes`` (N, 8, 4) the nearest ``among`` (M, 8, 4), M >= 1: positions (N,) and distances (N,)."""
    found = [(block.argmin(axis=1), block.min(axis=1)) for _, block in _distances(hashes[:, 0], among)]
    if not found:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    return np.concatenate([where for where, _ in found]), np.concatenate([far for _, far in found]).astype(np.int64)


def _distances(upright: NDArray[np.uint64], turned: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Blocks of the matrix of distances between (N, 4) and (M, 8, 4), each with its first row."""
    for start in range(0, len(upright), _BLOCK):
        block = upright[start : start + _BLOCK, None]
        best = np.full((len(block), len(turned)), np.iinfo(np.uint16).max, np.uint16)
        for turn in range(turned.shape[1]):
            bits = np.bitwise_count(block ^ turned[None, :, turn]).sum(axis=2, dtype=np.uint16)
            np.minimum(best, bits, out=best)
        yield start, best


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)
