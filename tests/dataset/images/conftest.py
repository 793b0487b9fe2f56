"""Provide folders of labeled phantoms."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from braintumor.imaging.phantom.slice import write_dataset


@pytest.fixture(scope="session")
def twelve_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 12 labeled phantoms per class."""
    folder = tmp_path_factory.mktemp("twelve each")
    write_dataset(folder, per_class=12, seed=9)
    return folder


@pytest.fixture
def folder(twelve_each: Path, tmp_path: Path) -> Path:
    """Copy ``twelve_each``, so that a test may change it."""
    return Path(shutil.copytree(twelve_each, tmp_path / "set"))
