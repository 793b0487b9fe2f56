"""Labelled folders as people have them, and their way to S3.

Known layouts: ``<class>/``, ``Data/<class>/`` and ``Training|Testing/<class>_tumor/``; ``labels.parse_class`` knows the
names. In S3 every image lies under ``<prefix><class>/``, whatever its folder was called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from braintumor.dataset.image import LabelledImage, LeftOut, sorted_out, understand
from braintumor.errors import DatasetError
from braintumor.imaging.formats import Format, is_named_as_image
from braintumor.imaging.sniff import sniff
from braintumor.labels import CLASSES, TumorClass, parse_class
from braintumor.objectstore import ObjectStore, S3Uri

_BEGINNING = 1024
"""Bytes that tell what a file is."""


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """An image file and the class that its folder says."""

    path: Path
    label: TumorClass
    key: str


def labelled_files(folder: Path) -> list[LabelledFile]:
    """Every image below ``folder`` with its class, in path order.

    Raises:
        DatasetError: the folder is missing, holds images outside class folders, gives two of them one address in S3, or
            lacks a class.
    """
    files = [_labelled(path, folder) for path in image_paths(folder)]
    _require_own_keys(files)
    require_every_class(Counter(file.label for file in files), where=str(folder))
    return files


def image_paths(folder: Path) -> list[Path]:
    """Every file below ``folder`` whose name or beginning is that of an image, in path order.

    Raises:
        DatasetError: the folder is missing.
    """
    return [path for path in _files(folder) if is_named_as_image(path.name) or _begins_as_image(path)]


def count_passed_over(folder: Path, images: Sequence[LabelledFile]) -> int:
    """How many files below ``folder`` are none of its ``images``."""
    return len(_files(folder)) - len(images)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give a folder with one sub-folder per class.")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _begins_as_image(path: Path) -> bool:
    with path.open("rb") as stream:
        return sniff(stream.read(_BEGINNING)) in get_args(Format)


def read_folder(folder: Path) -> tuple[list[LabelledImage], list[LeftOut]]:
    """Every labelled image below ``folder`` that decodes, and what does not.

    Raises:
        DatasetError: the folder is missing.
    """
    return read_files(image_paths(folder), folder)


def read_files(
    paths: Sequence[Path], folder: Path, on_read: Callable[[int], None] = lambda _: None
) -> tuple[list[LabelledImage], list[LeftOut]]:
    """The same of some ``image_paths`` of ``folder``; ``on_read`` is told of each."""
    with ThreadPoolExecutor() as threads:
        return sorted_out(threads.map(lambda path: _read(path, folder), paths), on_read)


def _read(path: Path, folder: Path) -> LabelledImage | LeftOut:
    inside = path.relative_to(folder)
    named = inside.parent.name
    return understand(path.read_bytes, folder=named, address=str(inside), around=inside.parts[:-2])


def _labelled(path: Path, folder: Path) -> LabelledFile:
    if path.parent == folder:
        raise DatasetError(f"{path} lies outside a class folder. Move it into the folder of its class.")
    label = parse_class(path.parent.name)
    source = path.relative_to(folder).parts[:-2]
    return LabelledFile(path=path, label=label, key="/".join([label, *source, path.name]))


def _require_own_keys(files: Sequence[LabelledFile]) -> None:
    """Folders of several names can mean one class: a file of the one must not overwrite a file of the other."""
    twice = [key for key, count in Counter(file.key for file in files).items() if count > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} names are used twice in one class, such as {twice[0]}: in S3 the one would overwrite the "
            "other. Rename them, or upload the folders to prefixes of their own."
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
    store: ObjectStore, files: list[LabelledFile], prefix: S3Uri, *, on_uploaded: Callable[[int], None] = lambda _: None
) -> None:
    """Store the files under ``prefix`` by class; ``on_uploaded`` is told the size in bytes of each."""
    store.require_bucket(prefix.bucket)

    def put(file: LabelledFile) -> int:
        data = file.path.read_bytes()
        store.write(prefix / file.key, data)
        return len(data)

    for size in store.concurrently(put, files):
        on_uploaded(size)
