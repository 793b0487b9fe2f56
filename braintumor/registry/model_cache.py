"""The cache folder: copies of models' files, and how far trainings have come. All of it can be had again.

::

    MODEL/              the files that scoring needs, checked at each use
    training/NAME/      the epochs of a training that has not ended
    .arriving-XXXX/     a model's files on their way

Nobody is the last to use a model, and who is killed clears up nothing: so what was not used for long is deleted when
something new comes.
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

_ARRIVING: Final = ".arriving-"
_DAY_S: Final = 86_400
_DAYS_KEPT: Final = {"model": 60, "training": 14, "arriving": 1}
"""Since the folder was last used."""


def model_folder(settings: Settings, model_name: str) -> Path:
    """Where a model's files are, or will be. Asking is using."""
    folder = _root(settings) / model_name
    with suppress(OSError):  # it is not there yet, or may only be read
        os.utime(folder)
    return folder


def training_folder(settings: Settings, recipe_name: str, digest: str) -> Path:
    """Where a training keeps its epochs, or will. ``digest``, in hex, tells it from other trainings of the recipe."""
    return _root(settings) / "training" / f"{recipe_name}-{digest}"


@contextmanager
def arriving(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, on its disk, for what will be moved there; gone at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(mkdtemp(prefix=_ARRIVING, dir=folder.parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def delete_unused(settings: Settings) -> None:
    """Delete what was not used for long. What else lies in the folder is left alone."""
    root, now = _root(settings), time.time()
    for kind, folders in {
        "model": filter(_is_model, root.glob("[!.]*")),
        "training": (path for path in (root / "training").glob("*") if re.search(r"-[0-9a-f]{12}$", path.name)),
        "arriving": root.glob(f"{_ARRIVING}*"),
    }.items():
        for folder in folders:
            with suppress(FileNotFoundError):  # another process was quicker
                if now - folder.stat().st_mtime > _DAYS_KEPT[kind] * _DAY_S:
                    shutil.rmtree(folder, ignore_errors=True)


def _root(settings: Settings) -> Path:
    return Path(settings.require("cache_folder")).expanduser()


def _is_model(folder: Path) -> bool:
    try:
        return Manifest.read(folder).name == folder.name
    except (ModelIntegrityError, OSError):
        return False
