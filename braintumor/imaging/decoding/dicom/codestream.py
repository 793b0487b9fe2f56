"""Read the header of a compressed frame in JPEG, JPEG-LS or JPEG 2000, without decoding it.

The codestream is the compressed frame without the boxes of a JP2 file, which only JPEG 2000 has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

END_OF_CODESTREAM = b"\xff\xd9"
"""End marker of all three formats. This marker cannot occur within compressed data."""
_START_OF_JPEG, _START_OF_JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""Markers of a frame header: SOF0 to SOF15 (ITU-T T.81 B.1.1.3) and SOF55 (T.87), without markers of tables."""
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Markers without a length. No encoder writes such a marker before the frame header."""
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_JFIF, _ADOBE = 0xE0, 0xEE
_ADOBE_TRANSFORM = 11
"""Position of the transform in Adobe's segment: 0 is RGB, 1 is YCbCr."""
_RGB_IDS = (b"RGB", b"rgb")
_COLOR_COMPONENTS = 3
_SIZE = struct.Struct(">HHIIIIIIIIHB")
"""Segment SIZ (ITU-T T.800 A.5.1).

Its fields are length, profile, two corners of the image, two of a tile, number of components, and first precision.
"""
_CODING_STYLE, _START_OF_TILE = b"\xff\x52", b"\xff\x90"
_SIGN_BIT = 0x80
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_BOX = 8


@dataclass(frozen=True, kw_only=True)
class CodestreamHeader:
    """The header of a compressed frame.

    Attributes:
        precision: bits per sample.
        components: samples per pixel.
        color_space: color space of the decoded samples, ``RGB`` or ``YBR_FULL``. ``None`` if the frame states none.
        start: position of the codestream in the frame.
        end: position after the header. An end marker counts only at this position or later.
    """

    columns: int
    rows: int
    precision: int
    components: int
    color_space: str | None
    start: int = 0
    end: int


def read_header(frame: bytes) -> CodestreamHeader | None:
    """Return the header of a frame, or ``None`` if the frame has no complete header."""
    try:
        return _read_jpeg(frame) if frame.startswith(_START_OF_JPEG) else _read_jpeg_2000(frame)
    except (IndexError, ValueError, struct.error):  # the frame ends inside its header
        return None


def _read_jpeg(frame: bytes) -> CodestreamHeader | None:
    segments: dict[int, bytes] = {}
    for marker, body, end in _segments(frame):
        if marker not in _FRAME_MARKERS:
            segments[marker] = body
            continue
        precision, rows, columns, components = struct.unpack_from(">BHHB", body)
        return CodestreamHeader(
            columns=columns,
            rows=rows,
            precision=precision,
            components=components,
            color_space=_color_space(marker, body[6:], segments),
            end=end,
        )
    return None


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, body and end position of each segment, up to the first malformed segment."""
    at = len(_START_OF_JPEG)
    while frame[at] == 0xFF:  # noqa: PLR2004 - begins a marker
        while frame[at] == 0xFF:  # noqa: PLR2004 - any number of fill bytes may precede a marker
            at += 1
        length = int.from_bytes(frame[at + 1 : at + 3], "big")
        if frame[at] in _WITHOUT_LENGTH or length < 2:  # noqa: PLR2004 - the length counts its own two bytes
            return
        yield frame[at], frame[at + 3 : at + 1 + length], at + 1 + length
        at += 1 + length


def _color_space(marker: int, components: bytes, segments: dict[int, bytes]) -> str | None:
    """Return the color space that a lossy JPEG with three components states, or ``None``.

    Encoders of lossless JPEG and JPEG-LS write the same marks for any samples, so their marks do not count.
    """
    ids, factors = components[0::3], components[1::3]
    if marker in {_LOSSLESS, _JPEG_LS} or len(ids) != _COLOR_COMPONENTS:
        return None
    if ids in _RGB_IDS:
        return "RGB"
    if segments.get(_JFIF, b"").startswith(b"JFIF"):
        return "YBR_FULL"
    adobe = segments.get(_ADOBE, b"")
    if adobe.startswith(b"Adobe") and len(adobe) > _ADOBE_TRANSFORM:
        return "YBR_FULL" if adobe[_ADOBE_TRANSFORM] else "RGB"
    return "YBR_FULL" if len(set(factors)) > 1 else None  # only chroma has a lower resolution


def _read_jpeg_2000(frame: bytes) -> CodestreamHeader | None:
    start = _start_of_jpeg_2000(frame)
    if frame[start : start + len(_START_OF_JPEG_2000)] != _START_OF_JPEG_2000:
        return None
    at = start + len(_START_OF_JPEG_2000)
    length, _, right, bottom, left, top, *_, components, precision = _SIZE.unpack_from(frame, at)
    at += length
    while frame[at : at + 2] not in {_CODING_STYLE, _START_OF_TILE, b""}:
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    is_transformed = frame[at : at + 2] == _CODING_STYLE and frame[at + 8] == 1
    return CodestreamHeader(
        columns=right - left,
        rows=bottom - top,
        precision=(precision & ~_SIGN_BIT) + 1,
        components=components,
        color_space="RGB" if is_transformed else None,  # the decoder inverts the transform of the components
        start=start,
        end=at,
    )


def _start_of_jpeg_2000(frame: bytes) -> int:
    """Return the position of the codestream: 0, or in a JP2 file the start of the content of the box ``jp2c``."""
    at = 0
    while frame.startswith(_JP2_SIGNATURE) and frame[at + 4 : at + _BOX] != b"jp2c":
        length = int.from_bytes(frame[at : at + 4], "big")
        if length < _BOX:
            raise ValueError("a JP2 box has no length")
        at += length
    return at + _BOX if at else 0
