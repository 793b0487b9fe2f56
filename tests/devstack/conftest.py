from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a state folder outside pytest's, which Postgres' user cannot enter when tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="devstack-test-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def stores() -> Iterator[Stack]:
    """Start Postgres and the object server for all tests of a module."""
    path = Path(tempfile.mkdtemp(prefix="devstack-test-"))
    with Stack(path, airflow=False) as stack:
        yield stack
    shutil.rmtree(path)
