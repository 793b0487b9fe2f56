"""Provide an empty database, and a copy of the SQL files that a test can change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.db import database, migrations


@pytest.fixture
def engine(empty_settings: Settings) -> Iterator[Engine]:
    made = database.connect(empty_settings)
    yield made
    made.dispose()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "sql"
    shutil.copytree(migrations.sql_folder(), copy)
    monkeypatch.setattr(migrations, "sql_folder", lambda: copy)
    return copy
