"""Create valid and damaged DICOM files."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from imagecodecs import jpeg8_encode
from numpy.typing import NDArray
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.tag import Tag

NAME, PATIENT, STUDY = "Jane^Doe", "PAT-4711", "1.2.826.0.1.3680043.8.498.77"
RAMP = np.rint(np.add.outer(np.arange(64) * 2, np.arange(48) * 2.7)).astype(np.uint8)


def shipped(name: str) -> bytes:
    """Return a file that pydicom ships."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def changed(name: str = "MR_small.dcm", **tags: Any) -> bytes:
    """Return a shipped file with other tags. ``None`` removes a tag. Ambiguous VRs get the sign of the pixels."""
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
    """Return an MR object of gray or RGB pixels, with a window as wide as their type by default."""
    bits = pixels.dtype.itemsize * 8
    is_gray = pixels.ndim == 2
    described = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "SamplesPerPixel": 1 if is_gray else 3,
        "PhotometricInterpretation": "MONOCHROME2" if is_gray else "RGB",
        "PlanarConfiguration": 0,
        "WindowCenter": 2 ** (bits - 1),  # with this width, values stay unchanged
        "WindowWidth": 2**bits,
        "PixelPaddingValue": None,
        "SmallestImagePixelValue": None,
        "LargestImagePixelValue": None,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    return changed(**{**described, **tags})


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace bytes once, for values that pydicom would not write."""
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def with_bytes(data: bytes, keyword: str, value: bytes, *, vr: str = "") -> bytes:
    """Return an object in which the bytes of an attribute are exactly these, even if pydicom would refuse them."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    set_bytes(dataset, keyword, value, vr=vr)
    return written(dataset)


def set_bytes(dataset: Dataset, keyword: str, value: bytes, *, vr: str = "") -> None:
    """Set an attribute to exactly these bytes, which pydicom writes unchanged."""
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(value), value, 0, False, True)


def encapsulated(data: bytes, syntax: str, frames: list[bytes], **tags: Any) -> bytes:
    """Return an object with these compressed frames as its pixel data."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return written(dataset)


def codestream(pixels: NDArray[Any], syntax: str) -> bytes:
    """Return pixels as one compressed frame. All bits of the type are stored bits."""
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        return bytes(jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=pixels.dtype.itemsize * 8))
    dataset = pydicom.dcmread(io.BytesIO(mr_of(pixels)))
    dataset.compress(syntax)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def as_patient(path: Path, patient: str) -> bytes:
    """Return the DICOM file with another PatientID."""
    dataset = pydicom.dcmread(path)
    dataset.PatientID = patient
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def retagged(data: bytes, **tags: Any) -> bytes:
    """Return the DICOM file with other tags."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return written(dataset)
