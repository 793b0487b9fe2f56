"""Read labeled local folders, and upload them to S3.

Supported layouts: ``<class>/``, ``Data/<class>/`` and ``Training|Testing/<class>_tumor/``. ``folder_layout.place_of``
interprets a path, and ``labels.parse_class`` interprets the name of a class folder. The upload names each class folder
in S3 exactly like the class, such as ``glioma``.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
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
from braintumor.errors import DatasetError, ObjectMissingError, ObjectRefusedError
from braintumor.filenames import printable
from braintumor.imaging.decoding.types import Limits
from braintumor.labels import CLASSES, TumorClass, parse_class
from braintumor.progress import BYTES, progress
from braintumor.s3 import ObjectEntry, ObjectStore, S3Uri

_BEGINNING = 1024
"""Number of first bytes that are read to identify the type of a file."""


@dataclass(frozen=True, kw_only=True)
class LabeledFile:
    """An image file of a local folder.

    Attributes:
        path: path of the file.
        label: the class.
        key: key of the object that the upload creates, relative to the S3 prefix.
    """

    path: Path
    label: TumorClass
    key: str

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        with _reading(self.path):
            return self.path.stat().st_size


def labeled_files(folder: Path) -> list[LabeledFile]:
    """Return every image of a supported type below ``folder`` with its class, in path order.

    Raises:
        DatasetError: the folder is missing, has a folder that cannot be read, or lacks a class. Or an image is outside
            class folders or cannot be opened. Or two images would have the same key in S3.
    """
    paths = [path for path in _files(folder) if is_readable_image(path.name, _beginning(path))]
    files = [_labeled(path, folder) for path in paths]
    _require_own_keys(files)
    _require_readable(files)
    require_every_class(Counter(file.label for file in files), where=str(folder))
    return files


def image_paths(folder: Path) -> list[Path]:
    """Return the files that the quality check counts, in path order.

    These are the images of any type in class folders, and all files outside class folders except litter.

    Raises:
        DatasetError: the folder is missing, or a folder below it cannot be read.
    """
    return [
        path
        for path in _files(folder)
        if place_of(_inside(path, folder)).label is None or is_image(path.name, _beginning(path))
    ]


def count_passed_over(folder: Path, images: Sequence[LabeledFile]) -> int:
    """Return the number of files below ``folder`` that are not in ``images``. Litter is not counted."""
    return len(_files(folder)) - len(images)


def other_image_types(folder: Path, images: Sequence[LabeledFile]) -> Counter[str]:
    """Return the number of files below ``folder`` of each unsupported image type, such as HEIC.

    Args:
        folder: the labeled folder.
        images: files that are not counted, because they are uploaded.
    """
    uploaded = {file.path for file in images}
    types = (other_image_type(path.name) for path in _files(folder) if path not in uploaded)
    return Counter(name for name in types if name is not None)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give a folder with one sub-folder per class.")
    closed: list[Path] = []
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = [name for name in folders if not is_litter(_inside(Path(parent, name, "file"), folder))]
        below = [Path(parent, name) for name in folders]
        closed.extend(path for path in below if path.is_symlink() or not os.access(path, os.R_OK | os.X_OK))
        paths += [Path(parent, name) for name in names if not is_litter(_inside(Path(parent, name), folder))]
    if closed:
        raise DatasetError(
            f"{len(set(closed))} folders cannot be read, such as {printable(min(closed))}: they are links to folders, "
            "or no right to read them. All folders must be readable. Copy linked folders here, or remove these folders."
        )
    return sorted(path for path in paths if path.is_file() or (path.is_symlink() and not path.exists()))


def _inside(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _beginning(path: Path) -> bytes:
    """Return the first 1,024 bytes of a file. Return empty bytes for a file that cannot be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(_BEGINNING)
    except OSError:
        return b""


def read_folder(folder: Path) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return every labeled image below ``folder``, and the excluded images.

    Raises:
        DatasetError: the folder is missing, or a folder below it cannot be read.
    """
    return read_files(image_paths(folder), folder)


def read_files(
    paths: Sequence[Path], folder: Path, on_read: Callable[[int], None] = lambda _: None
) -> tuple[list[LabeledImage], list[ExcludedImage]]:
    """Return the labeled images and the excluded images among ``paths``.

    Args:
        paths: files below ``folder``, from ``image_paths``.
        folder: the labeled folder.
        on_read: called with 1 after each file.
    """
    with ThreadPoolExecutor() as threads:
        return partition_images(threads.map(lambda path: _read(path, folder), paths), on_read)


def _read(path: Path, folder: Path) -> LabeledImage | ExcludedImage | None:
    inside = _inside(path, folder)
    place = place_of(inside)
    try:
        read = to_labeled_image(lambda: _limited(path), label=place.label, address=inside, around=place.folders)
        if isinstance(read, ExcludedImage) and place.label and not read.image_sha256:  # only its beginning was read
            return replace(read, image_sha256=_digest(path, "sha256"))
    except OSError as exc:
        return ExcludedImage(image_uri=inside, reason=f"{UNOPENED}: {exc.strerror}")
    return read


def _limited(path: Path) -> bytes:
    """Return the bytes of a file. Of a file above the size limit, return one byte more than the limit."""
    with path.open("rb") as stream:
        return stream.read(Limits().max_bytes + 1)


def _digest(path: Path, name: str) -> str:
    """Return the hex digest of a file by the hash function ``name``.

    Raises:
        DatasetError: the file cannot be read.
    """
    with _reading(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Translate disk errors in the ``with`` block to a ``DatasetError`` that names the file (context manager)."""
    try:
        yield
    except OSError as exc:
        raise DatasetError(
            f"{printable(path)} cannot be read: {exc.strerror}. All images must be readable. Repair or remove the "
            "file, and run the command again."
        ) from exc


def _labeled(path: Path, folder: Path) -> LabeledFile:
    inside = path.relative_to(folder)
    place = place_of(inside.as_posix())
    if place.label is None:
        if path.parent != folder:
            parse_class(path.parent.name)  # because its error lists the names of classes
        raise DatasetError(
            f"{path} is outside a class folder, or in folders of two classes. Move it into the folder of its class."
        )
    before = [name for name in place.folders if name.lower() not in BELOW_CLASS]
    below = [name for name in place.folders if name.lower() in BELOW_CLASS]
    key = printable("/".join([*before, place.label, *below, path.name]))
    return LabeledFile(path=path, label=place.label, key=key)


def _require_own_keys(files: Sequence[LabeledFile]) -> None:
    """Check that no two files have the same S3 key. Two files with equal names in two folders of a class can have it.

    Raises:
        DatasetError: two files have the same key.
    """
    twice = [key for key, count in Counter(file.key for file in files).items() if count > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} names are used twice in one class, such as {twice[0]}. In S3 one file would overwrite the "
            "other. Rename them, or upload the folders to prefixes of their own."
        )


def _require_readable(files: Sequence[LabeledFile]) -> None:
    """Check that every file can be opened, before the first file is uploaded.

    Raises:
        DatasetError: a file cannot be opened.
    """
    closed = [file.path for file in files if not os.access(file.path, os.R_OK)]
    if closed:
        raise DatasetError(
            f"{len(closed)} images cannot be opened, such as {printable(closed[0])}: broken links, or no right to read "
            "them. Repair or remove them."
        )


def require_every_class(counts: Counter[TumorClass], *, where: str) -> None:
    """Check that every class has images.

    Args:
        counts: number of images by class.
        where: name of the folder or S3 prefix, for the error message.

    Raises:
        DatasetError: a class has no images.
    """
    missing = [label.value for label in CLASSES if not counts[label]]
    if missing:
        raise DatasetError(
            f"No images of {', '.join(missing)} in {where}: the class folder is missing or empty. All four of "
            f"{', '.join(CLASSES)} are needed. Add images to a folder of that name."
        )


def sha256s(files: Sequence[LabeledFile], folder: Path) -> dict[str, str]:
    """Return the hex sha256 of each file by its path below ``folder``, with forward slashes."""
    hashes: dict[str, str] = {}
    with (
        ThreadPoolExecutor() as threads,
        progress("Hashing the files", sum(file.size for file in files), unit=BYTES) as advance,
    ):
        digests = threads.map(lambda file: _digest(file.path, "sha256"), files)
        for file, digest in zip(files, digests, strict=True):
            hashes[_inside(file.path, folder)] = digest
            advance(file.size)
    return hashes


def not_in_s3(
    store: ObjectStore, files: Sequence[LabeledFile], prefix: S3Uri, *, replaces: bool = False
) -> list[LabeledFile]:
    """Return the files that are not below ``prefix`` yet, so that an interrupted upload continues.

    The size and the ETag identify an equal object. The ETag is the MD5 of the content, except with SSE-KMS. There the
    sha256 that the upload stored with the object is compared, if S3 allows to read it.

    Args:
        store: the object store.
        files: the files, with their keys below ``prefix``.
        prefix: the S3 prefix.
        replaces: whether files may overwrite objects with another content.

    Raises:
        DatasetError: a file would overwrite an object with another content, and ``replaces`` is false.
    """
    stored = {entry.key: entry for entry in store.list(prefix)}
    present = [file for file in files if (prefix / file.key).key in stored]
    others = []
    with progress("Comparing with S3", sum(file.size for file in present), unit=BYTES) as advance:
        are_equal = store.concurrently(lambda file: _is_equal(store, file, stored[(prefix / file.key).key]), present)
        for file, is_equal in zip(present, are_equal, strict=True):
            if not is_equal:
                others.append(file.key)
            advance(file.size)
    kept = {file.key for file in present} - set(others)
    if others and not replaces:
        raise DatasetError(
            f"{len(others)} files would overwrite objects with another content in {prefix}, such as {others[0]}. "
            "Nothing was uploaded. Upload the folder to a prefix of its own below that one, or give --replace if these "
            "files are the new versions, or if the bucket uses SSE-KMS and these are the same files."
        )
    return [file for file in files if file.key not in kept]


def _is_equal(store: ObjectStore, file: LabeledFile, entry: ObjectEntry) -> bool:
    """Return whether an object has the content of a file."""
    if entry.size != file.size:
        return False
    if entry.etag == _digest(file.path, "md5"):
        return True
    with suppress(ObjectMissingError, ObjectRefusedError):
        return store.stored_sha256(S3Uri(bucket=entry.bucket, key=entry.key)) == _digest(file.path, "sha256")
    return False


def upload(
    store: ObjectStore, files: list[LabeledFile], prefix: S3Uri, *, on_uploaded: Callable[[int], None] = lambda _: None
) -> None:
    """Upload files to S3 below ``prefix``, into one folder per class.

    Args:
        store: the object store.
        files: the files, with their keys below ``prefix``.
        prefix: the S3 prefix.
        on_uploaded: called with the size in bytes of each uploaded file.
    """
    store.require_bucket(prefix.bucket)

    def put(file: LabeledFile) -> int:
        with _reading(file.path):
            data = file.path.read_bytes()
        store.write(prefix / file.key, data, sha256=hashlib.sha256(data).hexdigest())
        return len(data)

    for size in store.concurrently(put, files):
        on_uploaded(size)
