"""How a DICOM object's pixels are encoded, and what to refuse before any decoder runs."""

from __future__ import annotations

import io
import struct
import zlib
from itertools import islice, pairwise
from typing import Any

from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.filereader import _read_command_set_elements, _read_file_meta_info, read_preamble
from pydicom.pixels.decoders.base import get_decoder

from braintumor.imaging.frames import Limits
from braintumor.imaging.rejection import Rejection, RejectionReason

_TAIL = 16
"""Bytes at a codestream's end in which its end marker stands; the rest is padding."""
_START_OF_CODESTREAM, _END_OF_CODESTREAM = b"\xff\xd8", b"\xff\xd9"
_START_OF_FRAME_LS, _START_OF_SCAN = 0xF7, 0xDA
_BITS_A_JPEG_DECODER_READS = 8
_RLE_HEADER = struct.Struct("<16L")  # number of segments, then where each begins (PS3.5 G.5)
_RLE_NO_OP = 128


def check_inflated(data: bytes, limits: Limits) -> Rejection | None:
    """Refuse a deflated object that is cut, or larger than the limit once inflated: pydicom inflates without bound."""
    stream = io.BytesIO(data)
    read_preamble(stream, force=True)
    if _read_file_meta_info(stream).get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return None
    _read_command_set_elements(stream)  # none in a file; pydicom would pass over them before it inflates
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = len(inflater.decompress(data[stream.tell() :], limits.max_bytes + 1))
    if inflated > limits.max_bytes:
        return Rejection(
            reason=RejectionReason.TOO_MANY_BYTES, detail=f"inflates to more than {limits.max_bytes:,} bytes"
        )
    if not inflater.eof:
        return Rejection(reason=RejectionReason.TRUNCATED, detail=f"deflated data ends early, at {inflated:,} bytes")
    return None


def syntax_of(dataset: Any) -> uid.UID | None:
    """The transfer syntax: as the file says, else as it was found to be encoded; ``None`` where nobody can tell."""
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
    """As the header says; 1 where it says nothing, or 0."""
    return int(dataset.get("NumberOfFrames") or 1)


def check_encoding(dataset: Any) -> Rejection | None:
    """Refuse pixels that no decoder reads, that end early, or that are not of the size that the header says."""
    syntax = syntax_of(dataset)
    if syntax is None or not _is_readable(syntax, int(dataset.get("BitsStored", 8))):
        return _unsupported(syntax)
    if not syntax.is_encapsulated:
        return _check_length(len(dataset.PixelData), count_frames(dataset) * _expected_bytes(dataset))
    # what is checked here must be what is decoded, and pydicom's decoders would find frames by this table, not by these
    dataset.pop("ExtendedOffsetTable", None)
    dataset.pop("ExtendedOffsetTableLengths", None)
    return _check_frames(dataset, syntax)


def _check_frames(dataset: Any, syntax: uid.UID) -> Rejection | None:
    """Each encapsulated frame, one at a time."""
    size, expected, found = (int(dataset.Columns), int(dataset.Rows)), count_frames(dataset), 0
    for frame in islice(generate_frames(dataset.PixelData, number_of_frames=expected), expected):
        found += 1
        refused = _check_rle(frame, dataset) if syntax == uid.RLELossless else _check_codestream(frame, size, syntax)
        if refused is not None:
            return refused
    if found < expected:
        detail = f"{found:,} frames of pixel data, {expected:,} expected"
        return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)
    return None


def _is_readable(syntax: uid.UID, bits: int) -> bool:
    if syntax == uid.JPEGExtended12Bit and bits > _BITS_A_JPEG_DECODER_READS:
        return False
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _unsupported(syntax: uid.UID | None) -> Rejection:
    is_known = syntax is not None and syntax.name != str(syntax)  # pydicom's name of an unknown one is itself
    name = syntax.name if syntax is not None and is_known else "private or unknown"
    return Rejection(
        reason=RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX, detail=f"no decoder here for transfer syntax: {name}"
    )


def _expected_bytes(dataset: Any) -> int:
    """Size of one frame as it is stored uncompressed."""
    samples = int(dataset.get("SamplesPerPixel", 1))
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
    is_subsampled = dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
    return bits // 8 * 2 // 3 if is_subsampled else bits // 8


def _check_length(found: int, expected: int) -> Rejection | None:
    if found >= expected:
        return None
    detail = f"{found:,} bytes of pixel data, {expected:,} expected"
    return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)


def _check_rle(frame: bytes, dataset: Any) -> Rejection | None:
    """Refuse run lengths that do not fill the image exactly: pylibjpeg panics on them, pydicom expands unbounded."""
    pixels = int(dataset.Rows) * int(dataset.Columns)
    expected = int(dataset.get("SamplesPerPixel", 1)) * int(dataset.BitsAllocated) // 8
    if len(frame) < _RLE_HEADER.size:
        return Rejection(reason=RejectionReason.TRUNCATED, detail="the RLE data ends inside its header")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != expected or count > len(offsets):
        return Rejection(reason=RejectionReason.CORRUPT, detail=f"{count} RLE segments, {expected} expected")
    bounds = [*offsets[:count], len(frame)]
    for start, end in pairwise(bounds):
        if not _RLE_HEADER.size <= start <= end <= len(frame) or not _fills(frame, start, end, pixels):
            return Rejection(
                reason=RejectionReason.CORRUPT, detail=f"an RLE segment does not decode to {pixels:,} bytes"
            )
    return None


def _fills(frame: bytes, start: int, end: int, pixels: int) -> bool:
    """Whether the runs from ``start`` to ``end`` (PS3.5 G.3.1) make so many bytes; one byte behind them is padding."""
    at, made = start, 0
    while at < end and made < pixels:
        run = frame[at]
        if run < _RLE_NO_OP:  # run + 1 bytes as they stand
            at, made = at + run + 2, made + run + 1
        elif run > _RLE_NO_OP:  # the next byte, 257 - run times
            at, made = at + 2, made + 257 - run
        else:
            at += 1
    return made == pixels and end - 1 <= at <= end


def _check_codestream(frame: bytes, expected: tuple[int, int], syntax: uid.UID) -> Rejection | None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 stream without end, or of another size than the object's.

    Decoders allocate by the size that the stream says.
    """
    if _END_OF_CODESTREAM not in frame[-_TAIL:]:
        detail = f"the compressed pixel data has no end marker in {len(frame):,} bytes"
        return Rejection(reason=RejectionReason.TRUNCATED, detail=detail)
    found = _jpeg_ls_size(frame) if syntax in uid.JPEGLSTransferSyntaxes else _pillow_size(frame)
    if isinstance(found, Rejection):
        return found
    if found == expected:
        return None
    detail = f"the compressed pixel data is {found[0]} x {found[1]}, the header says {expected[0]} x {expected[1]}"
    return Rejection(reason=RejectionReason.CORRUPT, detail=detail)


def _pillow_size(frame: bytes) -> tuple[int, int] | Rejection:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG", "JPEG2000"]) as image:
            return image.size
    except Image.DecompressionBombError:
        detail = "the compressed pixel data claims more pixels than any limit"
        return Rejection(reason=RejectionReason.TOO_MANY_PIXELS, detail=detail)


def _jpeg_ls_size(frame: bytes) -> tuple[int, int]:
    """Columns and rows of a JPEG-LS stream (ITU-T T.87 C.2.2), which Pillow does not know.

    Raises:
        ValueError: there is no frame header where one should be.
    """
    at = len(_START_OF_CODESTREAM)
    while frame[at : at + 1] == b"\xff":
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == _START_OF_FRAME_LS:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return columns, rows
        if marker == _START_OF_SCAN:
            break
        at += 2 + length
    raise ValueError("no frame header in the JPEG-LS stream")
