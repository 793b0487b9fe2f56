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

from braintumor.dataset.image import LabelledImage, LeftOut, sorted_out, understand
from braintumor.errors import DatasetError
from braintumor.labels import CLASSES, TumorClass, parse_class
from braintumor.objectstore import ObjectStore, S3Uri

_SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm"}


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """An image file and the class that its folder says."""

    path: Path
    label: TumorClass
    key: str


def labelled_files(folder: Path) -> list[LabelledFile]:
    """Every image below ``folder`` with its class, in path order.

    Raises:
        DatasetError: the folder is missing, holds images outside class folders, or lacks a class.
    """
    files = [_labelled(path, folder) for path in image_paths(folder)]
    require_every_class(Counter(file.label for file in files), where=str(folder))
    return files


def image_paths(folder: Path) -> list[Path]:
    """Every file below ``folder`` whose name is that of an image, in path order.

    Raises:
        DatasetError: the folder is missing.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give a folder with one sub-folder per class.")
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in _SUFFIXES)


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
