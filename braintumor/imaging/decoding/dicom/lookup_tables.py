"""Read DICOM's lookup tables (PS3.3 C.11.1.1 and C.7.6.3.1.5) as scanners and archives write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braintumor.imaging.decoding.dicom.values import items_of, numbers_of, value_of

_MOST_ENTRIES = 65_536
_DESCRIPTOR_VALUES = 3
_BYTE, _WORD = 8, 16


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupTable:
    """A lookup table. ``count`` and ``bits`` describe the entries as the header does, which may be wrong.

    The first entry applies to the input ``first`` and to all lower inputs.
    """

    entries: NDArray[np.uint16] = field(repr=False)
    count: int
    first: int
    bits: int

    def look_up(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the entry for each whole number in ``values``, in the shape of ``values``."""
        first = self.first
        # if ``first`` is above all values, it is a negative number that was written as unsigned
        is_beyond = first + len(self.entries) > _MOST_ENTRIES or first > values.max() or values.min() < 0
        if first >= _MOST_ENTRIES // 2 and is_beyond:
            first -= _MOST_ENTRIES
        return self.entries[np.clip(values.astype(np.int64) - first, 0, len(self.entries) - 1)]

    @property
    def white(self) -> int:
        """Return the value that is shown as white.

        This is the largest number of ``bits`` bits. If the entries do not match that depth, it is the largest entry.
        """
        most = int(self.entries.max())
        full = 2 ** min(max(self.bits, 1), _WORD) - 1
        return full if full // 2 < most <= full else max(most, 1)


def voi_table(dataset: Any) -> LookupTable | None:
    """Return the first VOI LUT of an object, a table of displayed values, or ``None`` if it is missing or unusable."""
    return _first_table(dataset, "VOILUTSequence")


def modality_table(dataset: Any) -> LookupTable | None:
    """Return the Modality LUT of an object, a table of values in the scanner's units, like ``voi_table``."""
    return _first_table(dataset, "ModalityLUTSequence")


def _first_table(dataset: Any, keyword: str) -> LookupTable | None:
    """Return the first table of a sequence, or ``None`` if it is missing or unusable.

    A table with one value or with missing entries is unusable. A table without only its last entry is usable, because
    some writers omit this entry.
    """
    items = items_of(dataset, keyword)
    table = _read(items[0], "LUTDescriptor", "LUTData", dataset) if items else None
    if table is None or len(table.entries) < table.count - 1 or table.entries.min() == table.entries.max():
        return None
    return table


def look_up_palette(stored: NDArray[Any], dataset: Any) -> tuple[NDArray[Any], int]:
    """Return the colors (H, W, 3) of palette indexes (H, W), and the bits per sample.

    Raises ``ValueError`` if the object has no palette.
    """
    names = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
    tables = [_read(dataset, f"{name}Descriptor", f"{name}Data", dataset) for name in names]
    usable = [table for table in tables if table is not None]
    if len(usable) < len(names):
        from pydicom.pixels.processing import apply_color_lut  # also reads segmented palettes

        colors = apply_color_lut(stored, dataset)[..., :3]
        return colors, colors.dtype.itemsize * _BYTE
    most = max(int(table.entries.max()) for table in usable)
    stated = usable[0].bits
    # some descriptors state 16 although all entries have 8
    bits = _BYTE if most < 2**_BYTE else stated if _BYTE < stated < _WORD and most < 2**stated else _WORD
    return np.stack([table.look_up(stored) for table in usable], axis=2), bits


def _read(item: Any, descriptor: str, data: str, dataset: Any) -> LookupTable | None:
    described = numbers_of(item, descriptor)
    if len(described) < _DESCRIPTOR_VALUES or None in described[:_DESCRIPTOR_VALUES]:
        return None
    count, first, bits = (int(number or 0) for number in described[:_DESCRIPTOR_VALUES])
    count = count % _MOST_ENTRIES or _MOST_ENTRIES  # 0 means 65,536
    entries = _entries(value_of(item, data), count, dataset)
    return LookupTable(entries=entries, count=count, first=first, bits=bits) if len(entries) else None


def _entries(value: Any, count: int, dataset: Any) -> NDArray[np.uint16]:
    """Return at most ``count`` entries of a table.

    ``value`` is bytes or numbers. Bytes have one or two per entry, in the byte order of the object. A table of one byte
    per entry has at most one byte of padding.
    """
    if isinstance(value, bytes):
        is_big = getattr(dataset, "original_encoding", (None, True))[1] is False
        dtype = np.dtype("u1" if len(value) <= count + count % 2 else ">u2" if is_big else "<u2")
        used = min(count, len(value) // dtype.itemsize) * dtype.itemsize
        return np.frombuffer(value[:used], dtype).astype(np.uint16)
    numbers = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        return np.asarray(list(numbers), np.int64).astype(np.uint16)[:count]
    except (TypeError, ValueError, OverflowError):
        return np.empty(0, np.uint16)
