"""Interpret the path of a file in a labeled folder, which has one class folder for each class.

The file belongs to a class, is litter, or is outside every class folder. Litter is a file that a program created for
its own use, such as ``Thumbs.db`` or any hidden file. The quality check, the upload and the snapshot use these rules.
The discovery of scans uses only the rule for litter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import get_args

from braintumor.errors import DatasetError
from braintumor.imaging.decoding.formats import Format, is_named_as_image, sniff
from braintumor.labels import TumorClass, parse_class

SPLIT_FOLDERS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Names of the split folders in public datasets."""
BELOW_CLASS = SPLIT_FOLDERS | {"data"}
"""Names of the folders that are allowed below a class folder. An upload can create such folders."""
_LITTER_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "icon\r"}
_LITTER_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_OTHER_TYPES = {
    ".avif": "AVIF", ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC",
    ".j2k": "JPEG 2000", ".jfif": "JFIF", ".jp2": "JPEG 2000", ".jxl": "JPEG XL", ".mha": "MetaImage", ".mgz": "MGH",
    ".nrrd": "NRRD", ".psd": "Photoshop", ".webp": "WebP",
}  # fmt: skip
_NOT_IMAGES = {None, "bmp", "gzip", "pdf", "zip"}
"""Results of ``sniff``, which reads a file's first bytes, that do not prove an image.

``bmp`` is among them, because a text can begin with ``BM``.
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a path in a labeled folder says about its file.

    Attributes:
        label: the class. ``None`` for litter, and for a file outside every class folder.
        is_litter: whether a program created the file for its own use.
        folders: the folders of the path except the class folder, in order. Empty for litter.
    """

    label: TumorClass | None = None
    is_litter: bool = False
    folders: tuple[str, ...] = ()


def place_of(path: str) -> Place:
    """Return what a path says about its file. The path is relative to a labeled folder or S3 prefix, and uses ``/``.

    The class folder nearest to the file gives the class. Only the folders of ``BELOW_CLASS``, such as ``Training``, may
    be between the class folder and the file. A path with folders of two classes has no class. Thus
    ``Training/glioma_tumor/1.jpg`` and ``glioma/Training/1.jpg`` are gliomas. ``glioma/patient 7/1.jpg`` and
    ``normal/glioma/1.jpg`` count as outside every class folder.
    """
    if is_litter(path):
        return Place(is_litter=True)
    folders = path.split("/")[:-1]
    named = [(position, label) for position, name in enumerate(folders) if (label := _class_of(name))]
    if len({label for _, label in named}) != 1:
        return Place(folders=tuple(folders))
    position, label = named[-1]
    if not all(name.strip().lower() in BELOW_CLASS for name in folders[position + 1 :]):
        return Place(folders=tuple(folders))
    return Place(label=label, folders=(*folders[:position], *folders[position + 1 :]))


def is_litter(path: str) -> bool:
    """Return whether a program created the file for its own use, such as ``Thumbs.db`` or any hidden file."""
    *folders, name = path.lower().split("/")
    return (
        not name
        or name in _LITTER_FILES
        or any(part.startswith(".") for part in (*folders, name))
        or any(folder in _LITTER_FOLDERS for folder in folders)
    )


def other_image_type(name: str) -> str | None:
    """Return the unsupported image type that a file name's suffix names, such as HEIC.

    Return ``None`` for any other suffix.
    """
    return _OTHER_TYPES.get(PurePosixPath(name).suffix.lower())


def is_readable_image(name: str, beginning: bytes) -> bool:
    """Return whether a file is an image of a supported type, by its name or its first bytes."""
    return is_named_as_image(name) or sniff(beginning) in get_args(Format)


def is_image(name: str, beginning: bytes) -> bool:
    """Return whether a file is an image of any type, by its name or its first bytes.

    A text or a table is not an image.
    """
    return is_named_as_image(name) or other_image_type(name) is not None or sniff(beginning) not in _NOT_IMAGES


def _class_of(folder: str) -> TumorClass | None:
    try:
        return parse_class(folder)
    except DatasetError:
        return None
