from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from devstack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a state folder outside pytest's, which Postgres' user cannot enter when tests run as root."""
    with TemporaryDirectory(prefix="devstack-test-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def stores() -> Iterator[Stack]:
    """Start Postgres and the object server for all tests of a module."""
    with TemporaryDirectory(prefix="devstack-test-") as path, Stack(Path(path), airflow=False) as stack:
        yield stack
