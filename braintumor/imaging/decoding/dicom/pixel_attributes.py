"""Complete and correct the attributes that describe a DICOM object's pixels, before a decoder reads the attributes."""

from __future__ import annotations

from typing import Any

from braintumor.imaging.decoding.dicom.codestream import CodestreamHeader
from braintumor.imaging.decoding.dicom.values import code_of, integer_of
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_GRAY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOR = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"}
    | {"ARGB", "CMYK", "HSV"}
)
_BYTE = 8
_LEAST_BITS = 4
"""A stored value of fewer bits shows no anatomy, so a header with fewer bits is wrong."""
COLOR_SAMPLES = 3
_SAMPLES = (1, COLOR_SAMPLES, 4)
"""Four samples belong to retired color spaces, which no decoder reads."""


def set_pixel_attributes(dataset: Any) -> Rejection | None:
    """Replace missing and malformed attributes of the Image Pixel module (PS3.3 C.7.6.3) by the usual defaults.

    ``Rows``, ``Columns`` and ``BitsAllocated`` have no default. An object without them is rejected.
    """
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        value = integer_of(dataset, keyword)
        if value is None or value < 1:
            return Rejection(RejectionReason.CORRUPT, f"{keyword} is not a whole number above 0")
        _set(dataset, keyword, value)
    frames = integer_of(dataset, "NumberOfFrames")
    dataset.pop("NumberOfFrames", None)
    if frames is not None and frames > 0:
        _set(dataset, "NumberOfFrames", frames, vr="IS")
    _set_choice(dataset, "PlanarConfiguration", allowed=(0, 1))
    _set_choice(dataset, "PixelRepresentation", allowed=(0, 1))
    _set_bits(dataset)
    _set_color(dataset)
    return None


def conform_to_codestream(dataset: Any, header: CodestreamHeader) -> None:
    """Correct attributes that contradict the compressed frame, because decoders follow the frame."""
    precision, stored = header.precision, dataset.BitsStored
    if precision > dataset.BitsAllocated:
        stored = precision
    stored = min(stored, precision)
    high = dataset.HighBit if stored < precision and dataset.HighBit < precision else stored - 1
    _set(dataset, "BitsAllocated", next((bits for bits in (8, 16) if precision <= bits), 32))
    _set(dataset, "BitsStored", stored)
    _set(dataset, "HighBit", high)
    set_samples(dataset, header.components)
    if header.components == COLOR_SAMPLES and header.color_space:
        _set_photometric(dataset, header.color_space)


def set_samples(dataset: Any, samples: int) -> None:
    """Set ``SamplesPerPixel``, and correct a photometric interpretation that contradicts this number."""
    _set(dataset, "SamplesPerPixel", samples)
    is_color = samples == COLOR_SAMPLES
    if dataset.PhotometricInterpretation not in (_COLOR if is_color else _GRAY):
        _set_photometric(dataset, "RGB" if is_color else "MONOCHROME2")
    if is_color:  # color samples are never signed (PS3.3 C.7.6.3.1.2)
        _set(dataset, "PixelRepresentation", 0)


def set_allocated_byte(dataset: Any) -> None:
    """Set ``BitsAllocated`` and ``HighBit`` for samples of one byte."""
    _set(dataset, "BitsAllocated", _BYTE)
    _set(dataset, "HighBit", dataset.BitsStored - 1)


def _uncompressed_bytes(dataset: Any, samples: int) -> int:
    """Return the number of bytes of all frames without compression."""
    pixels = dataset.Rows * dataset.Columns * int(dataset.get("NumberOfFrames", 1))
    return int(pixels * samples * dataset.BitsAllocated // _BYTE)


def _set(dataset: Any, keyword: str, value: int | str, *, vr: str = "US") -> None:
    """Replace an element without reading the previous element, which may be malformed."""
    dataset.add_new(keyword, vr, value)


def _set_photometric(dataset: Any, value: str) -> None:
    _set(dataset, "PhotometricInterpretation", value, vr="CS")


def _set_choice(dataset: Any, keyword: str, *, allowed: tuple[int, ...]) -> None:
    value = integer_of(dataset, keyword)
    _set(dataset, keyword, value if value is not None and value in allowed else allowed[0])


def _set_bits(dataset: Any) -> None:
    allocated = dataset.BitsAllocated
    stored, high = integer_of(dataset, "BitsStored"), integer_of(dataset, "HighBit")
    if stored is None or not _LEAST_BITS <= stored <= allocated:
        is_usable = high is not None and _BYTE <= high + 1 <= allocated
        stored = high + 1 if high is not None and is_usable else allocated
    if high is None or not stored - 1 <= high < allocated:
        high = stored - 1
    _set(dataset, "BitsStored", stored)
    _set(dataset, "HighBit", high)


def _set_color(dataset: Any) -> None:
    """Set the photometric interpretation and the samples per pixel.

    If the two disagree, the length of uncompressed pixel data decides.
    """
    photometric = code_of(dataset, "PhotometricInterpretation")
    samples = integer_of(dataset, "SamplesPerPixel")
    implied = COLOR_SAMPLES if photometric in _COLOR else 1
    is_native = not dataset["PixelData"].is_undefined_length
    length, full = len(dataset.PixelData or b""), _uncompressed_bytes(dataset, COLOR_SAMPLES)
    if samples not in _SAMPLES:
        samples = implied
    elif is_native and photometric in _COLOR | _GRAY and {samples, implied} == {1, COLOR_SAMPLES}:
        samples = COLOR_SAMPLES if length >= full else 1
    _set_photometric(dataset, photometric)
    set_samples(dataset, samples)
    if is_native and dataset.PhotometricInterpretation == "YBR_FULL_422" and length in {full, full + 1}:
        _set_photometric(dataset, "RGB")  # three whole samples per pixel, so nothing is subsampled
