"""What a file is, by its first bytes. Names and extensions do not count."""

from __future__ import annotations

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (128, b"DICM", "dicom"),
    (0, b"\x1f\x8b", "gzip"),
    (344, b"n+1\0", "nifti"),
    (344, b"ni1\0", "nifti"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
    (0, b"%PDF", "pdf"),
)
_BARE_DICOM = (b"\x08\x00", b"\x02\x00")
"""Little-endian group numbers with which a DICOM file without preamble begins."""


def sniff(data: bytes) -> str | None:
    """The format's name, or ``None`` where no format that we know begins so."""
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    is_bare_dicom = data[:2] in _BARE_DICOM and data[4:6].isalpha() and data[4:6].isupper()
    return "dicom" if is_bare_dicom else None
