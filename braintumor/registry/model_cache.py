"""Manage the cache folder, which has downloaded model files and training checkpoints.

Deleting this folder loses no data, because S3 has all registered models.

::

    MODEL/              the files that scoring needs, verified at each use
    training/NAME/      the checkpoints of an unfinished training
    .arriving-XXXX/     a download in progress

Each download of a model first deletes the entries that were not used for some days. A process cannot delete its own
entries, because another process may use them and because a killed process cannot clean up.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from braintumor.config.settings import Settings
from braintumor.errors import ModelIntegrityError
from braintumor.serving.artifact import Manifest

_DOWNLOAD_PREFIX: Final = ".arriving-"
_DAY_S: Final = 86_400
_DAYS_KEPT: Final = {"model": 60, "training": 14, "download": 1}
"""Days after its last use at which an entry may be deleted, by kind of entry."""


def model_folder(settings: Settings, model_name: str) -> Path:
    """Return the cache folder of a model's files, which may not exist yet. The call counts as a use of the folder."""
    folder = _root(settings) / model_name
    with suppress(OSError):  # because the folder may be missing or read-only
        os.utime(folder)
    return folder


def training_folder(settings: Settings, recipe_name: str, digest: str) -> Path:
    """Return the checkpoint folder of a training. ``digest`` is a hash that differs between trainings of one recipe."""
    return _root(settings) / "training" / f"{recipe_name}-{digest}"


@contextmanager
def download_folder(folder: Path) -> Iterator[Path]:
    """Create ``folder``, and yield an empty temporary folder next to it, which is deleted at the end.

    Both folders are on one disk, so moving a file from the temporary folder to ``folder`` is atomic.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=_DOWNLOAD_PREFIX, dir=folder.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


def delete_unused(settings: Settings) -> None:
    """Delete the cache entries whose last use is longer ago than ``_DAYS_KEPT``. Other files in the folder are kept."""
    root, now = _root(settings), time.time()
    for kind, folders in {
        "model": filter(_is_model, root.glob("[!.]*")),
        "training": (path for path in (root / "training").glob("*") if re.search(r"-[0-9a-f]{12}$", path.name)),
        "download": root.glob(f"{_DOWNLOAD_PREFIX}*"),
    }.items():
        for folder in folders:
            with suppress(FileNotFoundError):  # because another process may delete it first
                if now - folder.stat().st_mtime > _DAYS_KEPT[kind] * _DAY_S:
                    shutil.rmtree(folder, ignore_errors=True)


def _root(settings: Settings) -> Path:
    return Path(settings.require("cache_folder")).expanduser()


def _is_model(folder: Path) -> bool:
    try:
        return Manifest.read(folder).name == folder.name
    except (ModelIntegrityError, OSError, KeyError):  # KeyError, because the manifest lists no graph weights
        return False
