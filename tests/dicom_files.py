"""DICOM files as scanners, archives and accidents send them."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

NAME, PATIENT, STUDY = "Jane^Doe", "PAT-4711", "1.2.826.0.1.3680043.8.498.77"
RAMP = np.rint(np.add.outer(np.arange(64) * 2, np.arange(48) * 2.7)).astype(np.uint8)


def shipped(name: str) -> bytes:
    """A file that pydicom brings along."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def changed(name: str = "MR_small.dcm", **tags: Any) -> bytes:
    """A shipped file with other tags; ``None`` removes one. What may be signed or not is as its pixels are."""
    dataset = pydicom.dcmread(io.BytesIO(shipped(name)))
    for keyword, value in tags.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
            if dataset[keyword].VR == "US or SS":
                dataset[keyword].VR = "SS" if dataset.PixelRepresentation else "US"
    return written(dataset)


def mr_of(pixels: NDArray[Any], **tags: Any) -> bytes:
    """An MR object that shows these pixels, grey or RGB, with a window as wide as their type unless tags say so."""
    bits = pixels.dtype.itemsize * 8
    is_grey = pixels.ndim == 2
    described = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 1 if is_grey else 3,
        "PhotometricInterpretation": "MONOCHROME2" if is_grey else "RGB",
        "PlanarConfiguration": 0,
        "WindowCenter": 2 ** (bits - 1),  # with this width: every value as it is
        "WindowWidth": 2**bits,
        "PixelPaddingValue": None,
        "SmallestImagePixelValue": None,
        "LargestImagePixelValue": None,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    return changed(**{**described, **tags})


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """Bytes replaced once, where pydicom would not write what we want."""
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
