"""Check a downloaded folder against a manifest of path, sha256 and size: is it whole, and is it the one meant?"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from braintumor.dataset.images.folder_layout import is_litter
from braintumor.errors import DatasetError
from braintumor.serving.artifact import sha256_of

_COLUMNS = ("path", "sha256", "size_bytes")


@dataclass(frozen=True, kw_only=True)
class ManifestEntry:
    """One file as it should be; ``path`` is relative to the folder, with forward slashes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a folder is, measured by its manifest: relative paths, each list in order."""

    count_ok: int
    missing: tuple[str, ...]
    truncated: tuple[str, ...]
    changed: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every listed file is there and is the one listed; further files are named but do no harm."""
        return not (self.missing or self.truncated or self.changed)


def read_manifest(path: Path) -> list[ManifestEntry]:
    """Read a CSV with the columns path, sha256 and size_bytes.

    Raises:
        DatasetError: it cannot be read, lacks a column, or a line is not of that form.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(_entries(csv.DictReader(stream), path))
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"The manifest {path} cannot be read: {exc}. Give a CSV file.") from exc


def verify_folder(
    folder: Path, manifest: list[ManifestEntry], *, on_checked: Callable[[int], None] = lambda _: None
) -> Verification:
    """Compare every file; sizes first, so that a truncated one costs no reading. ``on_checked`` is told of each.

    Raises:
        DatasetError: there is no such folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder. Give the folder that the manifest's paths are relative to.")
    found: dict[str, list[str]] = {"ok": [], "missing": [], "truncated": [], "changed": []}
    for entry in manifest:
        found[_state(folder / entry.path, entry)].append(entry.path)
        on_checked(1)
    listed = {entry.path for entry in manifest}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    litter = set(filter(is_litter, there))
    return Verification(
        count_ok=len(found["ok"]),
        missing=tuple(found["missing"]),
        truncated=tuple(found["truncated"]),
        changed=tuple(found["changed"]),
        unlisted=tuple(sorted(there - listed - litter)),
    )


def _state(path: Path, entry: ManifestEntry) -> str:
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size < entry.size:
        return "truncated"
    return "ok" if size == entry.size and sha256_of(path) == entry.sha256 else "changed"


def _entries(reader: csv.DictReader[str], path: Path) -> Iterator[ManifestEntry]:
    lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
    if lacking:
        raise DatasetError(
            f"The manifest {path} lacks the columns {', '.join(lacking)}. Its first line must name path, sha256 and "
            f"size_bytes. Received: {', '.join(reader.fieldnames or ['nothing'])}."
        )
    for row in reader:
        inside = PurePosixPath(row["path"] or "")
        is_safe = row["path"] and not inside.is_absolute() and ".." not in inside.parts
        if not is_safe or not (row["size_bytes"] or "").isdigit() or len(row["sha256"] or "") != 64:  # noqa: PLR2004
            raise DatasetError(
                f"Line {reader.line_num} of {path} is not a relative path, a sha256 of 64 hex digits and a size in "
                f"bytes. Received: {row}."
            )
        yield ManifestEntry(path=inside.as_posix(), sha256=row["sha256"].lower(), size=int(row["size_bytes"]))
