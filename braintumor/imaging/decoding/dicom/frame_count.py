"""Determine the number of frames of a DICOM object whose header may state too few.

Without ``NumberOfFrames`` an object has one frame (PS3.3 C.7.6.6), but some writers omit it in a volume. The pixel data
and the functional groups of the frames then give the true number.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from pydicom import uid
from pydicom.encaps import generate_fragments, parse_basic_offsets

from braintumor.imaging.decoding.dicom.transfer_syntax import count_frames, syntax_of
from braintumor.imaging.decoding.dicom.values import items_of
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_STARTS_OF_CODESTREAM = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
"""First bytes of JPEG and JPEG-LS (ITU-T T.81 B.1.1.3), JPEG 2000 (ITU-T T.800 A.4.1) and a JP2 file."""
_EMPTY_OFFSET_TABLE = b"\xfe\xff\0\xe0\0\0\0\0"
_START_OF_RLE = b"\x40\0\0\0"
"""Offset of the first RLE segment, which follows the header of 64 bytes (PS3.5 G.5)."""
_MOST_RLE_SEGMENTS = 15


def correct_frame_count(dataset: Any) -> Rejection | None:
    """Set ``NumberOfFrames`` to the number of frames in the pixel data, or return a rejection if the number is unclear.

    Compressed frames are counted by their first bytes. More uncompressed frames than stated count only if each frame
    has an item in the functional groups. Without such items, twice the bytes may also be one frame of twice the bits.
    """
    syntax = syntax_of(dataset)
    if syntax is None or syntax not in uid.AllTransferSyntaxes:
        return None
    stated, items = count_frames(dataset), len(items_of(dataset, "PerFrameFunctionalGroupsSequence"))
    actual = _count_encapsulated(dataset, syntax) if syntax.is_encapsulated else _count_native(dataset, stated)
    if not actual or max(actual, items) <= stated:
        return None
    if actual == items or (syntax.is_encapsulated and not items):
        dataset.pop("NumberOfFrames", None)
        dataset.NumberOfFrames = actual
        if syntax.is_encapsulated:
            _drop_wrong_offsets(dataset, actual)
        return None
    statement = f"the header states {stated:,}"
    if not dataset.get("NumberOfFrames"):
        statement = "the header states none, which means 1"
    statement += f" and describes {items:,}" if items else ""
    reason = RejectionReason.TRUNCATED if actual < items else RejectionReason.CORRUPT
    return Rejection(reason, f"number of frames: the pixel data has the size of {actual:,}, {statement}")


def _count_native(dataset: Any, stated: int) -> int:
    """Return the number of whole frames in uncompressed pixel data. Zeros after the stated frames are padding."""
    is_color = str(dataset.get("PhotometricInterpretation")).startswith(("RGB", "YBR"))
    samples = int(dataset.get("SamplesPerPixel") or (3 if is_color else 1))
    frame = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8
    rest = dataset.PixelData[stated * frame :]
    return stated if rest and rest.count(0) == len(rest) else len(dataset.PixelData) // frame


def _count_encapsulated(dataset: Any, syntax: uid.UID) -> int:
    """Return the number of fragments in which a frame begins, or 0 for damaged data. One frame may have several."""
    stream = io.BytesIO(dataset.PixelData)
    try:
        parse_basic_offsets(stream)
        return sum(_begins_frame(fragment, syntax) for fragment in generate_fragments(stream))
    except (ValueError, struct.error):
        return 0


def _drop_wrong_offsets(dataset: Any, frames: int) -> None:
    """Remove the entries of an offset table if they are not as many as the frames.

    pydicom finds frames by this table, so a wrong table gives wrong frames.
    """
    stream = io.BytesIO(dataset.PixelData)
    if len(parse_basic_offsets(stream)) not in {0, frames}:
        dataset.PixelData = _EMPTY_OFFSET_TABLE + stream.read()


def _begins_frame(fragment: bytes, syntax: uid.UID) -> bool:
    if syntax != uid.RLELossless:
        return fragment.startswith(_STARTS_OF_CODESTREAM)
    return fragment[4:8] == _START_OF_RLE and 0 < int.from_bytes(fragment[:4], "little") <= _MOST_RLE_SEGMENTS
