"""How many frames a DICOM object holds, where its header may state too few.

An object without ``NumberOfFrames`` has one frame (PS3.3 C.7.6.6). Some writers leave the attribute out of a volume, or
state a part of it. Then the pixel data and the functional groups of the frames tell the true number.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from pydicom import uid
from pydicom.encaps import generate_fragments, parse_basic_offsets

from braintumor.imaging.decoding.dicom.transfer_syntax import count_frames, syntax_of
from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_STARTS_OF_CODESTREAM = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
"""JPEG and JPEG-LS (ITU-T T.81 B.1.1.3), JPEG 2000 (ITU-T T.800 A.4.1), and JPEG 2000 in a file of its own."""
_EMPTY_OFFSET_TABLE = b"\xfe\xff\0\xe0\0\0\0\0"
_START_OF_RLE = b"\x40\0\0\0"
"""Where the first segment begins: after the header of 64 bytes (PS3.5 G.5)."""
_MOST_RLE_SEGMENTS = 15


def correct_frame_count(dataset: Any) -> Rejection | None:
    """Set ``NumberOfFrames`` to the number of frames in the pixel data, or say why the number is unclear.

    Compressed frames are counted by their beginnings. For others the larger number counts only where each frame has its
    item in the functional groups: twice the bytes of a frame may as well be one frame of twice the bits.
    """
    syntax = syntax_of(dataset)
    if syntax is None or syntax not in uid.AllTransferSyntaxes:
        return None
    stated, items = count_frames(dataset), len(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    held = _count_encapsulated(dataset, syntax) if syntax.is_encapsulated else _count_native(dataset, stated)
    if not held or max(held, items) <= stated:
        return None
    if held == items or (syntax.is_encapsulated and not items):
        dataset.pop("NumberOfFrames", None)
        dataset.NumberOfFrames = held
        if syntax.is_encapsulated:
            _drop_wrong_offsets(dataset, held)
        return None
    said = f"the header states {stated:,}" if dataset.get("NumberOfFrames") else "the header states none, which means 1"
    said += f" and describes {items:,}" if items else ""
    reason = RejectionReason.TRUNCATED if held < items else RejectionReason.CORRUPT
    return Rejection(reason=reason, detail=f"number of frames: the pixel data has the size of {held:,}, {said}")


def _count_native(dataset: Any, stated: int) -> int:
    """Whole frames of uncompressed pixel data. Zeros after the stated frames are padding and do not count."""
    is_color = str(dataset.get("PhotometricInterpretation")).startswith(("RGB", "YBR"))
    samples = int(dataset.get("SamplesPerPixel") or (3 if is_color else 1))
    frame = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated) // 8
    rest = dataset.PixelData[stated * frame :]
    return stated if rest and rest.count(0) == len(rest) else len(dataset.PixelData) // frame


def _count_encapsulated(dataset: Any, syntax: uid.UID) -> int:
    """Fragments of compressed pixel data in which a frame begins, because one frame may have several; 0 if damaged."""
    stream = io.BytesIO(dataset.PixelData)
    begins = _begins_rle if syntax == uid.RLELossless else _begins_codestream
    try:
        parse_basic_offsets(stream)
        return sum(map(begins, generate_fragments(stream)))
    except (ValueError, struct.error):
        return 0


def _drop_wrong_offsets(dataset: Any, frames: int) -> None:
    """Empty an offset table of another length than the number of frames, because pydicom finds frames by it."""
    stream = io.BytesIO(dataset.PixelData)
    if len(parse_basic_offsets(stream)) not in {0, frames}:
        dataset.PixelData = _EMPTY_OFFSET_TABLE + stream.read()


def _begins_codestream(fragment: bytes) -> bool:
    return fragment.startswith(_STARTS_OF_CODESTREAM)


def _begins_rle(fragment: bytes) -> bool:
    return fragment[4:8] == _START_OF_RLE and 0 < int.from_bytes(fragment[:4], "little") <= _MOST_RLE_SEGMENTS
