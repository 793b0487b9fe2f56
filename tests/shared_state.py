"""Create the state that the workers of one test run share: one worker creates it, and the others wait."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from braintumor.s3 import ObjectStore, S3Uri
from devstack.postgres import program


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder ``name`` of the test run, filled by ``make``. After a failure the next worker tries again."""
    base = factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = run / name
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = factory.mktemp(name)
            make(partial)
            partial.rename(folder)
    return folder


def dump(url: str, file: Path) -> None:
    """Write a database to a file."""
    _run("pg_dump", "--format=custom", f"--file={file}", url)


def restore(file: Path, url: str) -> None:
    """Fill an empty database from a file of ``dump``, its rights included."""
    _run("pg_restore", "--exit-on-error", f"--dbname={url}", str(file))


def download(store: ObjectStore, bucket: S3Uri, folder: Path) -> None:
    """Write every object of the bucket to a file below the folder, named by its key."""
    for entry in store.list(bucket):
        path = folder / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(bucket / entry.key))


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
