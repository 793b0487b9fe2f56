"""Labeled folders as people have them, and their way to S3.

Known layouts: ``<class>/``, ``Data/<class>/`` and ``Training|Testing/<class>_tumor/``. ``layout.place_of`` decides, and
``labels.parse_class`` knows the names. In S3 every class folder has the class's own name.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from braintumor.dataset.images.folder_layout import (
    BELOW_CLASS,
    is_image,
    is_litter,
    is_readable_image,
    other_image_type,
    place_of,
)
from braintumor.dataset.images.labeled_image import (
    UNOPENED,
    ExcludedImage,
    LabeledImage,
    partition_images,
    to_labeled_image,
)
from braintumor.errors import DatasetError
from braintumor.filenames import printable
from braintumor.labels import CLASSES, TumorClass, parse_class
from braintumor.s3 import ObjectStore, S3Uri

_BEGINNING = 1024
"""Bytes that tell what a file is."""


@dataclass(frozen=True, kw_only=True)
class LabeledFile:
    """An image file and the class that its folder says."""

    path: Path
    label: TumorClass
    key: str


def labeled_files(folder: Path) -> list[LabeledFile]:
    """Every image below ``folder`` with its class, in path order.

    Raises:
        DatasetError: the folder is missing, holds images outside class folders or images that do not open, gives two
            of them one address in S3, or lacks a class.
    """
    paths = [path for path in _files(folder) if is_readable_image(path.name, _beginning(path))]
    files = [_labeled(path, folder) for path in paths]
    _require_own_keys(files)
    _require_readable(files)
    require_every_class(Counter(file.label for file in files), where=str(folder))
    return files


def image_paths(folder: Path) -> list[Path]:
    """Every file below ``folder`` that the check counts, in path order: images in class folders, and all files outside.

    Raises:
        DatasetError: the folder is missing.
    """
    return [
        path
        for path in _files(folder)
        if place_of(_inside(path, folder)).label is None or is_image(path.name, _beginning(path))
    ]


def count_passed_over(folder: Path, images: Sequence[LabeledFile]) -> int:
    """How many files below ``folder`` are none of its ``images``. Litter does not count."""
    return len(_files(folder)) - len(images)


def other_image_types(folder: Path, images: Sequence[LabeledFile]) -> Counter[str]:
    """Count files by image type, such as HEIC, that this program does not read and that are none of ``images``."""
    uploaded = {file.path for file in images}
    types = (other_image_type(path.name) for path in _files(folder) if path not in uploaded)
    return Counter(each for each in types if each is not None)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give a folder with one sub-folder per class.")
    found = (path for path in folder.rglob("*") if path.is_file() or (path.is_symlink() and not path.exists()))
    return sorted(path for path in found if not is_litter(_inside(path, folder)))


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _beginning(path: Path) -> bytes:
    """Read the first bytes. A file that does not open has none, and its name decides."""
    try:
        with path.open("rb") as stream:
            return stream.read(_BEGINNING)
    except OSError:
        return b""


def read_folder(folder: Path) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Every labeled image below ``folder`` that decodes, and what does not.

    Raises:
        DatasetError: the folder is missing.
    """
    return read_files(image_paths(folder), folder)


def read_files(
    paths: Sequence[Path], folder: Path, on_read: Callable[[int], None] = lambda _: None
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """The same of some ``image_paths`` of ``folder``; ``on_read`` is told of each."""
    with ThreadPoolExecutor() as threads:
        return partition_images(threads.map(lambda path: _read(path, folder), paths), on_read)


def _read(path: Path, folder: Path) -> LabeledImage | ExcludedImage | None:
    inside = _inside(path, folder)
    place = place_of(inside)
    try:
        return to_labeled_image(path.read_bytes, label=place.label, address=inside, around=place.folders)
    except OSError as exc:
        return ExcludedImage(image_uri=inside, reason=f"{UNOPENED}: {exc.strerror}")


def _labeled(path: Path, folder: Path) -> LabeledFile:
    inside = path.relative_to(folder)
    place = place_of(inside.as_posix())
    if place.label is None:
        if path.parent != folder:
            parse_class(path.parent.name)  # raises an error that lists the names of classes
        raise DatasetError(
            f"{path} lies outside a class folder, or in folders of two classes. Move it into the folder of its class."
        )
    before = [name for name in place.folders if name.lower() not in BELOW_CLASS]
    below = [name for name in place.folders if name.lower() in BELOW_CLASS]
    key = printable("/".join([*before, place.label, *below, path.name]))
    return LabeledFile(path=path, label=place.label, key=key)


def _require_own_keys(files: Sequence[LabeledFile]) -> None:
    """Folders of several names can mean one class: a file of the one must not overwrite a file of the other."""
    twice = [key for key, count in Counter(file.key for file in files).items() if count > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} names are used twice in one class, such as {twice[0]}: in S3 the one would overwrite the "
            "other. Rename them, or upload the folders to prefixes of their own."
        )


def _require_readable(files: Sequence[LabeledFile]) -> None:
    """Refuse files that do not open, before the first file is uploaded."""
    closed = [file.path for file in files if not os.access(file.path, os.R_OK)]
    if closed:
        raise DatasetError(
            f"{len(closed)} images cannot be opened, such as {printable(closed[0])}: broken links, or no right to read "
            "them. Repair or remove them."
        )


def require_every_class(counts: Counter[TumorClass], *, where: str) -> None:
    """Refuse data that lacks a class.

    Raises:
        DatasetError: naming the missing classes.
    """
    missing = [label.value for label in CLASSES if not counts[label]]
    if missing:
        raise DatasetError(
            f"No images of {', '.join(missing)} in {where}: the class folder is missing or empty. All four of "
            f"{', '.join(CLASSES)} are needed. Add images to a folder of that name."
        )


def upload(
    store: ObjectStore, files: list[LabeledFile], prefix: S3Uri, *, on_uploaded: Callable[[int], None] = lambda _: None
) -> None:
    """Store the files under ``prefix`` by class; ``on_uploaded`` is told the size in bytes of each."""
    store.require_bucket(prefix.bucket)

    def put(file: LabeledFile) -> int:
        data = file.path.read_bytes()
        store.write(prefix / file.key, data)
        return len(data)

    for size in store.concurrently(put, files):
        on_uploaded(size)
