"""Verify a downloaded folder against a manifest: a CSV with the path, sha256 and size of each file."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from braintumor.dataset.images.folder_layout import is_litter
from braintumor.errors import DatasetError
from braintumor.serving.artifact import sha256_of

_COLUMNS = ("path", "sha256", "size_bytes")


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One expected file.

    Attributes:
        path: path relative to the folder, with forward slashes.
        sha256: hex sha256 of the file.
        size: size in bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of a verification. All paths are relative to the folder.

    Attributes:
        count_ok: number of files that agree with the manifest.
        missing: files of the manifest that do not exist, in manifest order.
        truncated: files that are smaller than the manifest states, in manifest order.
        unreadable: files that cannot be read, such as without the right to, in manifest order.
        changed: other files whose size or sha256 differs from the manifest, in manifest order.
        unlisted: files that are not in the manifest, sorted. Litter, such as ``Thumbs.db``, is ignored.
    """

    count_ok: int
    missing: tuple[str, ...]
    truncated: tuple[str, ...]
    unreadable: tuple[str, ...]
    changed: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Return whether every file of the manifest is present and unchanged. Unlisted files are allowed."""
        return not (self.missing or self.truncated or self.unreadable or self.changed)


def read_manifest(path: Path) -> list[ManifestEntry]:
    """Return the entries of a manifest, a CSV with the columns path, sha256 and size_bytes.

    Raises:
        DatasetError: the manifest cannot be read, lacks a column, or has an invalid line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return list(_entries(csv.DictReader(stream), path))
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise DatasetError(f"The manifest {path} cannot be read: {exc}. Give a CSV file.") from exc


def verify_folder(
    folder: Path, manifest: list[ManifestEntry], *, on_checked: Callable[[int], None] = lambda _: None
) -> Verification:
    """Compare the files of a folder with a manifest. A file whose size differs is not read.

    Args:
        folder: the downloaded folder.
        manifest: the expected files.
        on_checked: called with 1 after each file of the manifest.

    Raises:
        DatasetError: the folder does not exist.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give the folder that the manifest's paths are relative to.")
    paths: dict[str, list[str]] = {"ok": [], "missing": [], "truncated": [], "unreadable": [], "changed": []}
    for entry in manifest:
        paths[_state(folder / entry.path, entry)].append(entry.path)
        on_checked(1)
    listed = {entry.path for entry in manifest}
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    present = {path.relative_to(folder).as_posix() for path in found}
    litter = set(filter(is_litter, present))
    return Verification(
        count_ok=len(paths["ok"]),
        missing=tuple(paths["missing"]),
        truncated=tuple(paths["truncated"]),
        unreadable=tuple(paths["unreadable"]),
        changed=tuple(paths["changed"]),
        unlisted=tuple(sorted(present - listed - litter)),
    )


def _state(path: Path, entry: ManifestEntry) -> str:
    try:
        if not path.is_file():
            return "missing"
        size = path.stat().st_size
        if size < entry.size:
            return "truncated"
        return "ok" if size == entry.size and sha256_of(path) == entry.sha256 else "changed"
    except OSError:
        return "unreadable"


def _entries(reader: csv.DictReader[str], path: Path) -> Iterator[ManifestEntry]:
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(
            f"The manifest {path} lacks the columns {', '.join(missing)}. Its first line must name path, sha256 and "
            f"size_bytes. Received: {', '.join(reader.fieldnames or ['nothing'])}."
        )
    for row in reader:
        inside = PurePosixPath(row["path"] or "")
        is_safe = row["path"] and not inside.is_absolute() and ".." not in inside.parts
        size = row["size_bytes"] or ""
        if not is_safe or not (size.isascii() and size.isdigit()) or len(row["sha256"] or "") != 64:  # noqa: PLR2004
            raise DatasetError(
                f"Line {reader.line_num} of {path} is not a relative path, a sha256 of 64 hex digits and a size in "
                f"bytes. Received: {row}."
            )
        yield ManifestEntry(path=inside.as_posix(), sha256=row["sha256"].lower(), size=int(size))
