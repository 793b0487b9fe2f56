"""Read the chunks of a PNG file, and keep the chunks that Pillow needs for the image."""

from __future__ import annotations

import struct
import zlib

from braintumor.imaging.decoding.rejection import RejectionReason

_SIGNATURE_BYTES = 8
_CHUNK_HEADER = struct.Struct(">I4s")  # length of the data, type
_USED = {b"tRNS", b"eXIf", b"acTL", b"fcTL"}
"""Ancillary chunks that are kept: transparency, orientation, and the marks of an animation."""
_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
"""First bytes of text chunks in which programs store the orientation."""
_LONGEST_TEXT = 64 * 1024


def read_chunks(data: bytes) -> tuple[bytes, RejectionReason | None]:
    """Return a PNG file with only the chunks that the image needs, and the kind of damage or ``None``.

    The returned file ends at the chunk IEND. Color profiles are omitted, because Pillow refuses the whole file if one
    of them is large or damaged. Texts are omitted for the same reason, except short texts with the orientation. An
    ancillary chunk with a wrong checksum (W3C PNG 5.3) is omitted too, as libpng does.
    """
    parts, at, kind = [data[:_SIGNATURE_BYTES]], _SIGNATURE_BYTES, b""
    damage = None
    while kind != b"IEND":
        if at + _CHUNK_HEADER.size > len(data):
            return b"".join([*parts, data[at:]]), damage or RejectionReason.TRUNCATED
        length, kind = _CHUNK_HEADER.unpack_from(data, at)
        start, end = at + _CHUNK_HEADER.size, at + _CHUNK_HEADER.size + length
        if end + 4 > len(data):
            return b"".join([*parts, data[at:]]), damage or RejectionReason.TRUNCATED
        is_critical = kind[:1].isupper()
        if is_critical or _is_used(kind, data[start : start + 32], length):
            is_whole = zlib.crc32(memoryview(data)[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big")
            if is_critical and not is_whole:
                damage = damage or RejectionReason.CORRUPT
            if is_critical or is_whole:
                parts.append(data[at : end + 4])
        at = end + 4
    return b"".join(parts), damage


def _is_used(kind: bytes, beginning: bytes, length: int) -> bool:
    is_text = kind in {b"tEXt", b"zTXt", b"iTXt"} and length <= _LONGEST_TEXT
    return kind in _USED or (is_text and beginning.startswith(_ORIENTATION_TEXTS))
