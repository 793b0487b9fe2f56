"""Extract code blocks from documents, and run shell blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from braintumor.config.settings import Settings
from devstack.postgres import program


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of one language in a page or a part of one."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def run_block(script: str, settings: Settings, backup: Path) -> None:
    """Run a block in a shell with Postgres' programs and the command on its path. ``backup`` is its $BACKUP."""
    commands = Path(sys.executable).parent
    path = os.pathsep.join([str(Path(program("psql")).parent), str(commands), os.environ["PATH"]])
    environment = {**os.environ, **settings.to_environment(), "BACKUP": str(backup), "PATH": path}
    done = subprocess.run(
        ["bash", "-eu", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
