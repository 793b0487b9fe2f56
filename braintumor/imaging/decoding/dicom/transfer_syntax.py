"""Check the encoding of a DICOM object's pixel data before any decoder runs."""

from __future__ import annotations

import io
import zlib
from itertools import islice
from typing import Any

from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import _read_command_set_elements, _read_file_meta_info, read_preamble
from pydicom.pixels.decoders.base import get_decoder

from braintumor.imaging.decoding.dicom.codestream import END_OF_CODESTREAM, read_header
from braintumor.imaging.decoding.dicom.pixel_attributes import conform_to_codestream
from braintumor.imaging.decoding.dicom.rle import fit_rle
from braintumor.imaging.decoding.jpeg import find_damage, read_structure, refuse_kind, refuse_scans
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason
from braintumor.imaging.decoding.types import Limits

_COMPONENTS = (1, 3)
_LOSSY_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}


def check_inflated(data: bytes, limits: Limits) -> Rejection | None:
    """Return a rejection for a deflated object that is cut or too large, because pydicom inflates without a limit."""
    stream = io.BytesIO(data)
    read_preamble(stream, force=True)
    if _read_file_meta_info(stream).get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return None
    _read_command_set_elements(stream)  # a file has none, and pydicom skips them before it decompresses
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = len(inflater.decompress(data[stream.tell() :], limits.max_bytes + 1))
    if inflated > limits.max_bytes:
        return Rejection(RejectionReason.TOO_MANY_BYTES, f"inflates to more than {limits.max_bytes:,} bytes")
    if not inflater.eof:
        return Rejection(RejectionReason.TRUNCATED, f"deflated data ends early, at {inflated:,} bytes")
    return None


def syntax_of(dataset: Any) -> uid.UID | None:
    """Return the transfer syntax that the file states, else the encoding that pydicom detected, or ``None``."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return uid.UID(str(stated))
    if dataset["PixelData"].is_undefined_length:
        return None
    is_implicit, is_little = dataset.original_encoding
    if not is_little:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian


def count_frames(dataset: Any) -> int:
    """Return the stated number of frames, or 1 if the header states none or 0."""
    return int(dataset.get("NumberOfFrames") or 1)


def check_encoding(dataset: Any) -> Rejection | None:
    """Return a rejection if no decoder reads the pixel data, it ends early, or its size contradicts the header."""
    syntax = syntax_of(dataset)
    if syntax is None or not _is_readable(syntax):
        return _unsupported(syntax)
    if not syntax.is_encapsulated:
        return _check_length(len(dataset.PixelData), count_frames(dataset) * _expected_bytes(dataset))
    # pydicom's decoders would find frames by these tables, and then decode other bytes than those checked here
    dataset.pop("ExtendedOffsetTable", None)
    dataset.pop("ExtendedOffsetTableLengths", None)
    return _check_frames(dataset, syntax)


def _check_frames(dataset: Any, syntax: uid.UID) -> Rejection | None:
    """Check each encapsulated frame, and remove excess bytes from frames. Return a rejection for a bad frame."""
    expected = count_frames(dataset)
    frames: list[bytes] = []
    is_changed = False
    for frame in islice(generate_frames(dataset.PixelData, number_of_frames=expected), expected):
        if syntax == uid.RLELossless:
            fitted = fit_rle(frame, dataset)
        else:
            fitted = _fit_codestream(frame, dataset, is_first=not frames)
            if syntax in _LOSSY_JPEG and isinstance(fitted, bytes):
                fitted = _find_jpeg_damage(fitted, dataset) or fitted
        if isinstance(fitted, Rejection):
            return fitted
        is_changed = is_changed or fitted is not frame
        frames.append(fitted)
    if len(frames) < expected:
        return Rejection(RejectionReason.TRUNCATED, f"{len(frames):,} frames of pixel data, {expected:,} expected")
    if is_changed:
        dataset["PixelData"].value = encapsulate(frames)
    return None


def _is_readable(syntax: uid.UID) -> bool:
    try:
        return syntax in uid.JPEGTransferSyntaxes or bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _unsupported(syntax: uid.UID | None) -> Rejection:
    is_known = syntax is not None and syntax.name != str(syntax)  # pydicom names an unknown syntax by its UID
    name = syntax.name if syntax is not None and is_known else "private or unknown"
    return Rejection(RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX, f"no installed decoder for transfer syntax: {name}")


def _expected_bytes(dataset: Any) -> int:
    """Return the number of bytes of one uncompressed frame."""
    bits = int(dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated)
    is_subsampled = dataset.PhotometricInterpretation == "YBR_FULL_422"
    return bits // 8 * 2 // 3 if is_subsampled else bits // 8


def _check_length(length: int, expected: int) -> Rejection | None:
    if length >= expected:
        return None
    return Rejection(RejectionReason.TRUNCATED, f"{length:,} bytes of pixel data, {expected:,} expected")


def _fit_codestream(frame: bytes, dataset: Any, *, is_first: bool) -> bytes | Rejection:
    """Return the codestream of a compressed frame, or a rejection.

    The frame is in JPEG, JPEG-LS or JPEG 2000. A frame without an end is rejected. A frame that states another size
    than ``dataset`` is rejected too, because decoders allocate the size that the frame states. Attributes that
    contradict the first frame are corrected. The boxes of a JP2 file are cut off, because they state another size.
    """
    header, end = read_header(frame), frame.rfind(END_OF_CODESTREAM)
    if header is None and end >= 0:
        detail = "a compressed frame has no header that its transfer syntax allows"
        return Rejection(RejectionReason.CORRUPT, detail)
    if header is None or end < header.end:
        detail = f"a compressed frame has no end marker in {len(frame):,} bytes"
        return Rejection(RejectionReason.TRUNCATED, detail)
    if header.columns * header.rows > Limits().max_pixels:
        return Rejection(RejectionReason.TOO_MANY_PIXELS, "a compressed frame states more pixels than any limit")
    if (header.columns, header.rows) != (dataset.Columns, dataset.Rows):
        detail = (
            f"a compressed frame is {header.columns} x {header.rows}, "
            f"the header states {dataset.Columns} x {dataset.Rows}"
        )
        return Rejection(RejectionReason.CORRUPT, detail)
    if header.components not in _COMPONENTS:
        detail = f"a compressed frame has {header.components} samples per pixel; 1 and 3 are allowed"
        return Rejection(RejectionReason.CORRUPT, detail)
    if is_first:
        conform_to_codestream(dataset, header)
    return frame[header.start :] if header.start else frame


def _find_jpeg_damage(frame: bytes, dataset: Any) -> Rejection | None:
    """Return a rejection for a damaged JPEG of 8 bits, as for a JPEG file, else ``None``."""
    structure = read_structure(frame)
    if refuse_kind(structure) is not None:  # lossless or of 12 bits, which only the decoder can check
        return None
    return refuse_scans(structure, dataset.Rows * dataset.Columns) or find_damage(structure)
