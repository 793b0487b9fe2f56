"""Decode MR DICOM objects, single and multi-frame, with pydicom. Importing this module imports pydicom."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.encaps import generate_frames
from pydicom.filereader import read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from braintumor.imaging.decoding.dicom.attributes import dicom_attributes
from braintumor.imaging.decoding.dicom.frame_count import correct_frame_count
from braintumor.imaging.decoding.dicom.header import read_header
from braintumor.imaging.decoding.dicom.lookup_tables import look_up_palette
from braintumor.imaging.decoding.dicom.mosaic import Grid, find_grid
from braintumor.imaging.decoding.dicom.pixel_attributes import set_pixel_attributes
from braintumor.imaging.decoding.dicom.pixel_spacing import dicom_spacing
from braintumor.imaging.decoding.dicom.stored_values import decode_jpeg, is_ybr, keep_stored_bits
from braintumor.imaging.decoding.dicom.transfer_syntax import check_encoding, check_inflated, count_frames, syntax_of
from braintumor.imaging.decoding.dicom.values import code_of, codes_of
from braintumor.imaging.decoding.dicom.windowing import gray_to_uint8, range_without_window, states_range
from braintumor.imaging.decoding.formats import without_empty_preamble
from braintumor.imaging.decoding.frame_selection import select_frames
from braintumor.imaging.decoding.gray_levels import color_to_uint8, is_gray
from braintumor.imaging.decoding.pixel_aspect import Spacing, square_size, with_square_pixels
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason, decoder_failure
from braintumor.imaging.decoding.types import Decoded, Frame, Limits, check_size

_NAMED_MODALITIES = frozenset(
    {"CR", "CT", "DX", "ECG", "ES", "KO", "MG", "NM", "OT", "PR", "PT", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN"}
    | {"RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA"}
)
"""Modalities (PS3.3 C.7.3.1.1.1) that a rejection names. No other value of the tag is quoted."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_EMPTY_OFFSET_TABLE_BYTES = 8
_ENDS_OF_SEQUENCE = (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")
"""Delimitation item of a sequence without stated length, in little and big endian (PS3.5 7.5)."""
_ALLOCATED_BITS = (8, 16, 32)
_MOST_ELEMENTS = 20_000
"""Largest number of elements at the top level of an object. Scanners write some hundreds.

Each element needs 260 bytes of memory and 5 us. A file of 64 MiB could need 2 GB and a minute.
"""


def decode_dicom(data: bytes, limits: Limits) -> Decoded | Rejection:
    """Return the frames of an MR object, or a rejection. The header is checked before any pixel is decoded.

    Each frame uses its own rescale and window if its functional groups state them.
    """
    data = without_empty_preamble(data)
    try:
        refused = check_inflated(data, limits)
        if refused is not None:
            return refused
        dataset = read_partial(io.BytesIO(data), stop_when=_element_counter(), force=True)
    except (EOFError, OSError, struct.error):  # the reader expected more bytes
        return Rejection(RejectionReason.TRUNCATED, "the file ends inside an element of its header")
    attributes = dicom_attributes(dataset)
    header = read_header(dataset, attributes)
    try:
        decoded = _decode(dataset, data, limits)
    except MemoryError:
        raise
    except Exception as exc:
        decoded = decoder_failure("dicom", exc)
    if isinstance(decoded, Rejection):
        return replace(decoded, dicom=header)
    return replace(decoded, dicom=header, attributes=attributes)


def _decode(dataset: Any, data: bytes, limits: Limits) -> Decoded | Rejection:
    refused = _check_header(dataset, data, limits)
    grid = refused or find_grid(dataset)
    if isinstance(grid, Rejection):
        return grid
    spacings = [dicom_spacing(dataset, index) for index in range(count_frames(dataset))]
    refused = _check_shown_size(dataset, grid, spacings, limits) or check_encoding(dataset)
    frames = refused or select_frames(_frames(dataset, grid, spacings), limits)
    if isinstance(frames, Rejection):
        return frames
    return Decoded(format="dicom", frames=frames, frame_count=count_frames(dataset) * grid.slices)


def _element_counter() -> Callable[[Any, str | None, int], bool]:
    """Return a function for pydicom's ``stop_when`` that raises after ``_MOST_ELEMENTS`` elements."""
    passed = count(1)

    def stop(_tag: Any, _vr: str | None, _length: int) -> bool:
        if next(passed) > _MOST_ELEMENTS:
            raise ValueError(f"more than {_MOST_ELEMENTS} elements")
        return False

    return stop


def _check_header(dataset: Any, data: bytes, limits: Limits) -> Rejection | None:
    return (
        _check_modality(dataset, data)
        or _check_presence(dataset, data)
        or set_pixel_attributes(dataset)
        or _check_frame(dataset)
        or correct_frame_count(dataset)
        or check_size(int(dataset.Columns), int(dataset.Rows), limits, frames=count_frames(dataset))
    )


def _check_modality(dataset: Any, data: bytes) -> Rejection | None:
    modality = "\\".join(codes_of(dataset, "Modality"))
    if modality == "MR":
        return None
    if not modality and _is_cut(dataset, data):
        return Rejection(RejectionReason.TRUNCATED, "the file ends before its data set does")
    if not modality:
        return Rejection(RejectionReason.NOT_MR, "the object has no Modality")
    named = modality if modality in _NAMED_MODALITIES else "not MR"
    return Rejection(RejectionReason.NOT_MR, f"Modality is {named}")


def _check_presence(dataset: Any, data: bytes) -> Rejection | None:
    if _is_empty(dataset.get_item("PixelData")):
        return Rejection(RejectionReason.NO_PIXELS, "PixelData has no value")
    if "PixelData" in dataset:
        missing = [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]
        detail = f"pixel data without {', '.join(missing)}"
        return Rejection(RejectionReason.CORRUPT, detail) if missing else None
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        return Rejection(RejectionReason.NO_PIXELS, "the pixels are floating-point numbers")
    if _is_cut(dataset, data):
        return Rejection(RejectionReason.TRUNCATED, "the file ends before its pixel data does")
    return Rejection(RejectionReason.NO_PIXELS, "no PixelData")


def _is_cut(dataset: Any, data: bytes) -> bool:
    """Return whether the file ends inside an element. pydicom reports no error for such a file."""
    if not len(dataset):
        return True
    if dataset.file_meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        return False  # check_inflated reached its end, and positions count decompressed bytes
    last = dataset.get_item(max(dataset.keys()))
    if isinstance(last, RawDataElement) and last.length != _UNDEFINED_LENGTH:
        return last.value_tell + last.length != len(data)
    # pydicom parses a sequence without stated length at once
    return last.VR == "SQ" and not data.endswith(_ENDS_OF_SEQUENCE)


def _is_empty(pixel_data: Any) -> bool:
    """Return whether the pixel data states a length of 0, or has an undefined length and contains no frame.

    The stated length counts, not that of the value, because the value is also missing in a cut file.
    """
    if pixel_data is None:
        return False
    length = pixel_data.length if isinstance(pixel_data, RawDataElement) else len(pixel_data.value or b"")
    return length == 0 or (length == _UNDEFINED_LENGTH and len(pixel_data.value or b"") <= _EMPTY_OFFSET_TABLE_BYTES)


def _check_frame(dataset: Any) -> Rejection | None:
    if code_of(dataset, "BurnedInAnnotation") == "YES":
        return Rejection(RejectionReason.BURNED_IN_ANNOTATION, "BurnedInAnnotation is YES")
    bits = int(dataset.BitsAllocated)  # may be a text in a damaged object, which must not be quoted
    if bits not in _ALLOCATED_BITS:
        return Rejection(RejectionReason.CORRUPT, f"{bits} bits allocated; 8, 16 and 32 are allowed")
    return None


def _check_shown_size(dataset: Any, grid: Grid, spacings: list[Spacing], limits: Limits) -> Rejection | None:
    """Return a rejection if slices are beyond the limits, as stored or with square pixels, else ``None``."""
    columns, rows, slices = dataset.Columns // grid.side, dataset.Rows // grid.side, len(spacings) * grid.slices
    sizes = [square_size(columns, rows, spacing) for spacing in spacings]
    widest, highest = max(width for width, _ in sizes), max(height for _, height in sizes)
    return check_size(columns, rows, limits, frames=slices) or check_size(widest, highest, limits, frames=slices)


def _frames(dataset: Any, grid: Grid, spacings: list[Spacing]) -> Iterator[Frame]:
    """Yield each frame as it is displayed.

    Frames of a multi-frame object without a stated window share one range of percentiles.
    """
    fallback = _common_range(dataset) if count_frames(dataset) > 1 else None
    for index, (stored, photometric) in enumerate(_stored(dataset)):
        shown = _pixels(dataset, stored, photometric, index, fallback)
        for place, pixels in enumerate(grid.cut(shown)):
            yield Frame(index=index * grid.slices + place, pixels=with_square_pixels(pixels, spacings[index]))


def _common_range(dataset: Any) -> tuple[float, float] | None:
    """Return the percentile range that all gray frames without a stated window share.

    Return ``None`` if there is no such frame. With a shared range, a frame of noise stays dark. Frames with one value
    do not count, because a frame of only padding would make the others nearly white.
    """
    is_color = dataset.SamplesPerPixel > 1 or dataset.PhotometricInterpretation == "PALETTE COLOR"
    if is_color or all(states_range(dataset, index) for index in range(count_frames(dataset))):
        return None  # before the frames are decoded
    ranges = []
    for index, (stored, _) in enumerate(_stored(dataset)):
        ends = range_without_window(stored, dataset, index=index)
        if ends is not None and stored.min() < stored.max():
            ranges.append(ends)
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def _pixels(
    dataset: Any, stored: NDArray[Any], photometric: str, index: int, fallback: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Return the displayed frame: uint8 (H, W), or (H, W, 3) for color.

    ``photometric`` is the photometric interpretation of the decoded values. ``fallback`` is the displayed range if the
    object states no window. ``None`` uses this frame's percentiles.
    """
    if photometric == "PALETTE COLOR":
        return color_to_uint8(*look_up_palette(stored, dataset))
    if not is_gray(stored):
        bits = int(dataset.BitsStored)
        shown = convert_color_space(stored, "YBR_FULL", "RGB") if is_ybr(stored, photometric, bits) else stored
        return color_to_uint8(shown, bits=bits)
    is_inverted = photometric == "MONOCHROME1"
    return gray_to_uint8(stored, dataset, is_inverted=is_inverted, index=index, fallback=fallback)


def _stored(dataset: Any) -> Iterator[tuple[NDArray[Any], str]]:
    """Yield each frame's stored values (H, W) or (H, W, 3), and their photometric interpretation after decoding."""
    # encapsulated data without offsets may yield more frames than the header states: one per fragment
    for decoded, photometric in islice(_decoded(dataset), count_frames(dataset)):
        yield keep_stored_bits(decoded, dataset), photometric


def _decoded(dataset: Any) -> Iterator[tuple[NDArray[Any], str]]:
    """Yield each frame as its decoder returns it, with all bits, and its photometric interpretation after decoding."""
    syntax = syntax_of(dataset)
    if syntax in uid.JPEGTransferSyntaxes:
        frames = generate_frames(dataset.PixelData, number_of_frames=count_frames(dataset))
        for decoded in decode_jpeg(frames, is_color=dataset.SamplesPerPixel > 1):
            yield decoded, dataset.PhotometricInterpretation
        return
    # pydicom's own RLE decoder, in Python, is 15 times slower and expands a bomb before it checks the size
    plugin = "pylibjpeg" if syntax == uid.RLELossless else ""
    options: dict[str, Any] = {"raw": True, "correct_unused_bits": False, "decoding_plugin": plugin}
    try:
        for decoded, properties in get_decoder(str(syntax)).iter_array(dataset, **options):
            yield decoded, str(properties["photometric_interpretation"])
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":
            raise
        # pylibjpeg-rle panics on bad bytes with an error that is not an Exception and would end the worker
        raise ValueError("the RLE decoder failed") from exc
