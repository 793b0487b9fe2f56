"""What a file is, by its first bytes. Names and extensions do not count."""

from __future__ import annotations

import struct

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (128, b"DICM", "dicom"),  # before TIFF: a DICOM preamble may be a TIFF header (PS3.10 7.1)
    (344, b"n+1\0", "nifti"),
    (344, b"ni1\0", "nifti"),
    (4, b"n+2\0", "nifti"),
    (4, b"ni2\0", "nifti"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),  # BigTIFF
    (0, b"MM\0+", "tiff"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (0, b"NRRD", "nrrd"),
    (0, b"BM", "bmp"),
    (0, b"%PDF", "pdf"),
)
"""Those that are not scored are here to be named in the rejection."""
_BARE_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")
"""Groups 0008 and 0002 in little endian, 0008 in big endian: how a DICOM file without preamble begins."""
_LONGEST_FIRST_ELEMENT = 1024
"""Bytes. Group length, character set, image type: what stands first is short."""
_ELEMENT_HEADER = struct.Struct("<HHI")
"""Group, element and length of an element in implicit little endian."""
_MOST_EMPTY_ELEMENTS = 16
"""Elements without a value that ``_is_bare_dicom`` passes over, at most."""
_EMPTY_PREAMBLE = bytes(128)
_BEGINNING = 512
"""Bytes: an empty preamble, and behind it more than ``_is_bare_dicom`` looks at."""


def sniff(data: bytes) -> str | None:
    """The format's name, or ``None`` where no format that we know begins so."""
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    return "dicom" if _is_bare_dicom(without_empty_preamble(data[:_BEGINNING])) else None


def without_empty_preamble(data: bytes) -> bytes:
    """Drop a preamble of 128 zero bytes that a writer left without the marker ``DICM``, because pydicom parses it."""
    end = len(_EMPTY_PREAMBLE)
    is_unmarked = data.startswith(_EMPTY_PREAMBLE) and data[end : end + 4] != b"DICM"
    return data[end:] if is_unmarked else data


def _is_bare_dicom(data: bytes) -> bool:
    """Whether the first element is DICOM's: a known group, then a VR or (implicit) a short, even length.

    An implicit element without a value proves little, so the first element with a value decides. It must be of a later
    tag in group 0008.
    """
    if data[:2] not in _BARE_GROUPS or len(data) < _ELEMENT_HEADER.size:
        return False
    vr = data[4:6]
    if vr.isalpha() and vr.isupper():
        return True
    previous = -1
    count = min(len(data) // _ELEMENT_HEADER.size, _MOST_EMPTY_ELEMENTS + 1)
    for group, element, length in _ELEMENT_HEADER.iter_unpack(data[: count * _ELEMENT_HEADER.size]):
        if group != 8 or element <= previous:  # noqa: PLR2004 - group 0008
            return False
        if length:
            return bool(length % 2 == 0 and length <= _LONGEST_FIRST_ELEMENT)
        previous = element
    return False
