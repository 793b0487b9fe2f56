"""Find DICOM images whose header states several slices side by side, and cut these images into slices.

Siemens writes ``MOSAIC`` in ``ImageType``, United Imaging ``VFRAME``. Both fill a square grid with slices, row by row.
The number of slices is in a private attribute, which anonymizers often remove.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sequence import Sequence

from braintumor.imaging.decoding.dicom.values import codes_of
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_MARKS = frozenset({"MOSAIC", "VFRAME"})
_COUNTS = ((0x0019, 0x0A, "SIEMENS MR HEADER"), (0x0065, 0x50, ""), (0x0065, 0x51, ""))
"""Group, element and creator of the private attributes that state the number of slices.

United Imaging (group 0065) writes a number or a sequence, with any creator.
"""
_CSA = (0x0029, 0x10, "SIEMENS CSA HEADER")
_FIRST_BLOCK, _LAST_BLOCK = 0x10, 0xFF
"""Numbers of a group's private blocks. The element of this number names the block's creator (PS3.5 7.8.1)."""
_LARGEST_GRID = 64
"""Largest number of slices per side of a grid."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The number of slices in an image, and the slices per side of its square grid."""

    slices: int = 1
    side: int = 1

    def cut(self, image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Yield each slice of an image (H, W) or (H, W, 3), row by row."""
        rows, columns = image.shape[0] // self.side, image.shape[1] // self.side
        for place in range(self.slices):
            row, column = divmod(place, self.side)
            yield image[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]


def find_grid(dataset: Any) -> Grid | Rejection:
    """Return the grid that the header states, or a rejection if it states several slices in an unknown grid.

    An image of a single slice is a grid of 1 x 1.
    """
    if not _MARKS.intersection(codes_of(dataset, "ImageType")):
        return Grid()
    slices = _count(dataset)
    if slices is None:
        detail = "ImageType states that the image shows several slices, and no number of slices is stated"
        return Rejection(RejectionReason.SEVERAL_SLICES, detail)
    side = math.isqrt(slices - 1) + 1
    if dataset.Rows % side or dataset.Columns % side:
        detail = f"{dataset.Columns} x {dataset.Rows} pixels do not divide into the grid of {slices:,} stated slices"
        return Rejection(RejectionReason.SEVERAL_SLICES, detail)
    return Grid(slices=slices, side=side)


def _count(dataset: Any) -> int | None:
    """Return the number of slices from the first private attribute that states a usable number, or ``None``."""
    for group, element, creator in _COUNTS:
        for value in _private_values(dataset, group, element, creator):
            slices = _whole_number(value)
            if slices is not None:
                return slices
    return next(filter(None, map(_count_in_csa, _private_values(dataset, *_CSA))), None)


def _private_values(dataset: Any, group: int, element: int, creator: str) -> Iterator[Any]:
    """Yield the value of a private attribute in each private block of its creator.

    If no block names the creator, yield the value in the first block.
    """
    blocks = {
        tag.element: str(_value(dataset, tag))
        for tag in list(dataset.keys())
        if tag.group == group and _FIRST_BLOCK <= tag.element <= _LAST_BLOCK
    }
    for block in [number for number, name in blocks.items() if creator in name] or [_FIRST_BLOCK]:
        yield _value(dataset, (group, block << 8 | element))


def _value(dataset: Any, tag: Any) -> Any:
    """Return the value of an element as pydicom converts it, or ``None`` if it is missing or damaged."""
    try:
        return dataset[tag].value
    except MemoryError:
        raise
    except Exception:  # the conversion of damaged bytes raises errors of many classes
        return None


def _count_in_csa(header: Any) -> int | None:
    """Return ``NumberOfImagesInMosaic`` of Siemens' CSA header, or ``None`` if it is missing or damaged."""
    from nibabel.nicom import csareader

    try:
        return _whole_number(csareader.get_n_mosaic(csareader.read(header)))
    except MemoryError:
        raise
    except Exception:  # nibabel raises errors of many classes on damaged headers
        return None


def _whole_number(value: Any) -> int | None:
    """Return the number of slices that a value states, or ``None`` if the value states no usable number.

    The value is a number, a text, bytes of an unknown VR, or a sequence. The length of a sequence counts.
    """
    try:
        number = len(value) if isinstance(value, Sequence) else int(value)
    except (TypeError, ValueError):
        number = int.from_bytes(value, "little") if isinstance(value, bytes) else 0
    return number if 1 <= number <= _LARGEST_GRID**2 else None
