"""Check a JPEG file before Pillow decodes it, because Pillow hides the warnings of its decoder.

The check reads the file's segments, counts its scans, and decodes a copy in libjpeg-turbo's strict mode. In this
module, a scan is a part of the compressed image data (ITU-T T.81). A frame is an image with its header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import simplejpeg

from braintumor.imaging.decoding.rejection import Rejection, RejectionReason

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker. 0xFF00 is an image byte, 0xFFD0 to 0xFFD7 are restart markers inside a scan."""
_START, _END = b"\xff\xd8", b"\xff\xd9"
_SOI, _EOI, _SOS, _DQT, _DRI, _DHT, _JPG = 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xC4, 0xC8
_ARITHMETIC_TABLES, _JPEG_LS = 0xCC, 0xF7
_FRAMES = (set(range(0xC0, 0xD0)) - {_DHT, _JPG, _ARITHMETIC_TABLES}) | {_JPEG_LS}
_READ_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_ARITHMETIC_FRAMES, _PROGRESSIVE = {0xC9, 0xCA}, {0xC2, 0xCA}
_TABLES = {_DQT, _DRI, _DHT, _ARITHMETIC_TABLES}
_MOST_SCANS = 100
"""Most scans allowed in an image. Encoders write about 10. Each is a pass over the image, so 24,000 take minutes."""
_MOST_SCANNED_PIXELS = 1_000_000_000
"""Largest product of pixels and scans. The largest allowed image may have 20 scans."""
_CUT = 2
"""Number of bytes that ``_damage`` removes from the last scan as a test. The decoder must then warn."""
_CMYK = 4


class _Segment(NamedTuple):
    """A segment: its marker, start and end of its payload, and end of the scan that follows the payload."""

    marker: int
    start: int
    end: int
    scan_end: int


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The segments of a JPEG file's first image: frame header, tables and scans, in the file's order.

    ``is_ended`` says whether the end marker was found.
    """

    data: bytes = field(repr=False)
    segments: tuple[_Segment, ...]
    is_ended: bool

    @property
    def frame(self) -> _Segment | None:
        """Return the segment that states the size and the kind of compression."""
        return next((each for each in self.segments if each.marker in _FRAMES), None)

    @property
    def scans(self) -> list[_Segment]:
        """Return the segments that begin a scan."""
        return [each for each in self.segments if each.marker == _SOS]


def read_structure(data: bytes) -> Structure:
    """Return the structure of a JPEG file's first image.

    The function stops after one scan more than allowed, because ``refuse_scans`` then rejects the file.
    """
    segments: list[_Segment] = []
    scans, at, is_ended = 0, len(_START), False
    while scans <= _MOST_SCANS and (match := _MARKER.search(data, at)):
        marker, start = data[match.start() + 1], match.end()
        at = start
        if marker == _EOI:
            is_ended = True
            break
        if marker in {_SOI, 0x01}:  # markers without a payload
            continue
        at = end = start + int.from_bytes(data[start : start + 2], "big")
        if marker == _SOS:
            scans += 1
            following = _MARKER.search(data, end)
            at = following.start() if following else len(data)
        if marker in _TABLES or marker in _FRAMES or marker == _SOS:
            segments.append(_Segment(marker, start, end, at))
    return Structure(data=data, segments=tuple(segments), is_ended=is_ended)


def refuse_kind(structure: Structure) -> Rejection | None:
    """Return a rejection for a kind of JPEG that Pillow does not decode, else ``None``.

    The marker of the frame header and the bits per sample determine the kind.
    """
    frame = structure.frame
    if frame is None:
        return None
    kind, bits = "", structure.data[frame.start + 2 : frame.start + 3]  # no byte if the file ends in the header
    if frame.marker == _JPEG_LS:
        kind = "JPEG-LS"
    elif frame.marker in {0xC3, 0xCB}:
        kind = "lossless JPEG"
    elif frame.marker not in _READ_FRAMES:
        kind = "hierarchical JPEG"
    elif bits not in (b"", b"\x08"):
        kind = f"JPEG of {bits[0]} bits per sample"
    if not kind:
        return None
    detail = f"content is {kind}; baseline and progressive JPEG of 8 bits are scored"
    return Rejection(RejectionReason.UNSUPPORTED_FORMAT, detail)


def refuse_scans(structure: Structure, pixels: int) -> Rejection | None:
    """Return a rejection if the image's pixels and scans would keep a decoder busy for minutes, else ``None``."""
    scans = len(structure.scans)
    most = min(_MOST_SCANS, max(1, _MOST_SCANNED_PIXELS // pixels))
    if scans <= most:
        return None
    detail = f"more than {most} scans in one image of {pixels:,} pixels; encoders write about 10"
    return Rejection(RejectionReason.CORRUPT, detail)


def find_damage(structure: Structure) -> Rejection | None:
    """Return a rejection for missing or cut scans, or for a size that contradicts the scans, else ``None``."""
    if structure.frame is None or not structure.scans:
        return None
    if not _is_complete(structure):
        return Rejection(RejectionReason.TRUNCATED, "scans of the jpeg image are missing")
    damage = _damage(structure)
    if damage and _damage(_without_padding(structure)):
        return Rejection(RejectionReason.CORRUPT, damage)
    return None


def _damage(structure: Structure) -> str:
    """Return a text that says how the image data was damaged after encoding, or an empty text."""
    assert structure.frame is not None
    warning = _warning(structure)
    if warning.startswith("Corrupt JPEG data"):
        return "the jpeg decoder reports damaged image data"
    is_arithmetic = structure.frame.marker in _ARITHMETIC_FRAMES  # its decoder never reports missing bytes
    if not warning and not is_arithmetic and not _warning(structure, cut=_CUT):
        return "the jpeg image is complete before its data ends"
    return ""


def _without_padding(structure: Structure) -> Structure:
    """Return the structure without the zeros that some devices append to the image's last block."""
    last = structure.scans[-1]
    end = last.end + len(structure.data[last.end : last.scan_end].rstrip(b"\0"))
    segments = tuple(each._replace(scan_end=end) if each is last else each for each in structure.segments)
    return replace(structure, segments=segments)


def _is_complete(structure: Structure) -> bool:
    """Return whether the scans contain every bit of every coefficient of every component (T.81 G.1.1)."""
    frame, data = structure.frame, structure.data
    assert frame is not None
    components = data[frame.start + 8 : frame.end : 3][: data[frame.start + 7]]
    missing_bits: dict[tuple[int, int], int] = {}
    for scan in structure.scans:
        first, last, bits = data[scan.end - 3 : scan.end]
        if frame.marker not in _PROGRESSIVE:
            first, last, bits = 0, 63, 0
        for component in data[scan.start + 3 : scan.end - 3 : 2]:
            missing_bits |= {(component, place): bits & 0x0F for place in range(first, last + 1)}
    return all(missing_bits.get((each, place)) == 0 for each in components for place in range(64))


def _warning(structure: Structure, *, cut: int = 0) -> str:
    """Return libjpeg-turbo's warning on the image without the last ``cut`` bytes of its last scan, or an empty text."""
    frame = structure.frame
    assert frame is not None
    colorspace = "CMYK" if structure.data[frame.start + 7] == _CMYK else "GRAY"
    try:  # an eighth of the size: the decoder reads every bit, but computes few pixels
        simplejpeg.decode_jpeg(
            _bare(structure, cut), colorspace, fastdct=True, fastupsample=True, min_height=1, min_width=1
        )
    except ValueError as exc:
        return str(exc)
    return ""


def _bare(structure: Structure, cut: int) -> bytes:
    """Return the image without its last ``cut`` bytes, and without texts, profiles and padding that cause warnings."""
    data, parts = structure.data, [_START]
    last = structure.scans[-1]
    is_progressive = structure.frame is not None and structure.frame.marker in _PROGRESSIVE
    for each in structure.segments:
        payload = data[each.start : each.end]
        if each.marker == _SOS:
            if not is_progressive:  # some encoders leave these bytes empty, and decoders ignore them
                payload = payload[:-3] + b"\x00\x3f\x00"
            scan = data[each.end : each.scan_end].rstrip(b"\xff")  # fill bytes before the next marker
            payload += scan[: max(0, len(scan) - cut)].rstrip(b"\xff") if each is last else scan
        parts += [bytes([0xFF, each.marker]), payload]
    return b"".join([*parts, _END])
