"""List the scored formats, and recognize a file's format by its first bytes, never by name or extension."""

from __future__ import annotations

import struct
from itertools import chain
from typing import Literal, get_args

Format = Literal["jpeg", "png", "tiff", "dicom", "nifti"]

_NAMES: dict[Format, str] = {"jpeg": "JPEG", "png": "PNG", "tiff": "TIFF", "dicom": "DICOM", "nifti": "NIfTI"}

_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "jpeg": (".jpg", ".jpeg"),
    "png": (".png",),
    "tiff": (".tif", ".tiff"),
    "dicom": (".dcm",),
    "nifti": (".nii", ".nii.gz"),
}

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
    (8, b"AVI ", "avi"),
    (0, b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg 2000"),
    (0, b"\0\0\0\x0cJXL ", "jpeg xl"),
    (0, b"\xff\x0a", "jpeg xl"),
    *(
        (4, b"ftyp" + brand, "heic")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    (4, b"ftypavi", "avif"),
    (4, b"ftypqt", "quicktime"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"NRRD", "nrrd"),
    (0, b"ObjectType", "metaimage"),
    (0, b"NDims", "metaimage"),
    (0, b"\x5c\x01\0\0", "analyze 7.5"),
    (0, b"\0\0\x01\x5c", "analyze 7.5"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"CDF\x01", "netcdf"),
    (0, b"CDF\x02", "netcdf"),
    (0, b"\x93NUMPY", "numpy"),
    (0, b"MATLAB 5.0", "matlab"),
    (0, b"8BPS", "photoshop"),
    (0, b"\0\0\x01\0", "icon"),
    (0, b"BM", "bmp"),
    (0, b"%PDF", "pdf"),
    (0, b"%!PS", "postscript"),
    (0, b"<?xml", "xml"),
    (0, b"<svg", "svg"),
    (0, b"<!DOCTYPE", "html"),
    (0, b"<!doctype", "html"),
    (0, b"<html", "html"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old office document"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"Rar!", "rar"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstandard"),
    (257, b"ustar", "tar"),
)
"""Offset in the file, bytes at this offset, and name of the format. The first match counts.

The list includes formats that are not scored, because a rejection names the file's format.
"""
_BARE_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")
"""First bytes of a DICOM file without preamble: group 0008 or 0002 in little endian, or 0008 in big endian."""
_LONGEST_FIRST_ELEMENT = 1024
"""Largest size in bytes of the first element's value. It is short: a group length, character set or image type."""
_ELEMENT_HEADER = struct.Struct("<HHI")
"""Group, element and length of an element in implicit little endian."""
_MOST_EMPTY_ELEMENTS = 16
"""Largest number of elements without a value that ``_is_bare_dicom`` skips."""
_EMPTY_PREAMBLE = bytes(128)
_BEGINNING = 512
"""Number of first bytes that contain an empty preamble and all bytes that ``_is_bare_dicom`` reads."""


def is_named_as_image(name: str) -> bool:
    """Return whether a file's name has the suffix of a scored format."""
    return name.lower().endswith(tuple(chain.from_iterable(_SUFFIXES.values())))


def all_formats(word: Literal["and", "or"]) -> str:
    """Return ``JPEG, PNG, TIFF, DICOM and NIfTI``, or the same with ``or``."""
    *others, last = (_NAMES[each] for each in get_args(Format))
    return f"{', '.join(others)} {word} {last}"


def sniff(data: bytes) -> str | None:
    """Return the name of the format that the first bytes show, or ``None`` for an unknown format."""
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    return "dicom" if _is_bare_dicom(without_empty_preamble(data[:_BEGINNING])) else None


def without_empty_preamble(data: bytes) -> bytes:
    """Return the data without its first 128 bytes if these are zeros and no ``DICM`` follows.

    Otherwise pydicom would parse the zeros.
    """
    end = len(_EMPTY_PREAMBLE)
    is_unmarked = data.startswith(_EMPTY_PREAMBLE) and data[end : end + 4] != b"DICM"
    return data[end:] if is_unmarked else data


def _is_bare_dicom(data: bytes) -> bool:
    """Return whether the data begins with a DICOM element: a known group, then a VR or a short, even length.

    Without a VR, the first element with a value decides, because an empty element proves little. This element and the
    empty elements before it must be in group 0008, with their tags in ascending order.
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
