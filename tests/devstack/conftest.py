from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder outside pytest's own, which it closes to the user that Postgres runs as under root."""
    path = Path(tempfile.mkdtemp(prefix="devstack-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def stores() -> Iterator[Stack]:
    """Postgres and the object server, shared by the tests that only store things."""
    path = Path(tempfile.mkdtemp(prefix="devstack-test-"))
    with Stack(path, airflow=False) as stack:
        yield stack
    shutil.rmtree(path)
