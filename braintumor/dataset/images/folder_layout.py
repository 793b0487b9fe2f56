"""The one rule that says what a path means in a labeled folder: its class, litter, or outside every class folder.

The local check, the check of an S3 prefix, the upload and the snapshot use it. Scans use its rule of litter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import get_args

from braintumor.errors import DatasetError
from braintumor.imaging.decoding.formats import Format, is_named_as_image, sniff
from braintumor.labels import TumorClass, parse_class

SPLIT_FOLDERS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Names of the parts of public data sets."""
BELOW_CLASS = SPLIT_FOLDERS | {"data"}
"""Names that may be folders below a class folder, because an upload puts them there."""
_LITTER_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "icon\r"}
_LITTER_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
_OTHER_TYPES = {
    ".avif": "AVIF", ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC",
    ".j2k": "JPEG 2000", ".jfif": "JFIF", ".jp2": "JPEG 2000", ".jxl": "JPEG XL", ".mha": "MetaImage", ".mgz": "MGH",
    ".nrrd": "NRRD", ".psd": "Photoshop", ".webp": "WebP",
}  # fmt: skip
_NOT_IMAGES = {None, "bmp", "gzip", "pdf", "zip"}
"""What ``sniff`` says of files that are no images. Texts can begin with the two bytes of BMP."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a path says of its file.

    Attributes:
        label: the class, ``None`` for litter and outside every class folder.
        is_litter: whether a program left the file there for itself.
        folders: the other folders of the path, in order.
    """

    label: TumorClass | None = None
    is_litter: bool = False
    folders: tuple[str, ...] = ()


def place_of(path: str) -> Place:
    """Say what a path below a labeled folder or S3 prefix means. The separator is ``/``.

    The nearest folder names the class. Only folders such as ``Training`` may stand between the two. Thus
    ``Training/glioma_tumor/1.jpg`` and ``glioma/Training/1.jpg`` are gliomas. ``glioma/patient 7/1.jpg`` and
    ``normal/glioma/1.jpg`` are outside.
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
    """Check for files that programs leave in folders: hidden ones, ``__MACOSX/``, ``Thumbs.db``, markers of folders."""
    *folders, name = path.lower().split("/")
    return (
        not name
        or name in _LITTER_FILES
        or any(part.startswith(".") for part in (*folders, name))
        or any(folder in _LITTER_FOLDERS for folder in folders)
    )


def other_image_type(name: str) -> str | None:
    """Name the image type that a suffix stands for, where this program does not read the type, such as HEIC."""
    return _OTHER_TYPES.get(PurePosixPath(name).suffix.lower())


def is_readable_image(name: str, beginning: bytes) -> bool:
    """Check by name and first bytes whether a file is an image of a type that this program reads."""
    return is_named_as_image(name) or sniff(beginning) in get_args(Format)


def is_image(name: str, beginning: bytes) -> bool:
    """Check by name and first bytes whether a file is an image of any type. A note or a table is none."""
    return is_named_as_image(name) or other_image_type(name) is not None or sniff(beginning) not in _NOT_IMAGES


def _class_of(folder: str) -> TumorClass | None:
    try:
        return parse_class(folder)
    except DatasetError:
        return None
