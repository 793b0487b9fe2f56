"""Extract code blocks and commands from documents, and run shell blocks."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from itertools import dropwhile
from pathlib import Path

from braintumor.config.settings import Settings
from devstack.postgres import program


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of one language in a page or a part of one."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def commands(script: str) -> list[list[str]]:
    """Return the words of each simple command of a shell script, without assignments, redirections and comments."""
    found = []
    for line in _HERE_DOCUMENT.sub("", script.replace("\\\n", " ")).splitlines():
        lexer = shlex.shlex(re.sub(r"\d>", ">", line), posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        is_file = False  # whether the next words name the file of a redirection
        for word in lexer:
            if set(word) <= set(";&|()<>"):
                is_file = word in {"<", ">", ">>"}
                parts.append([])
            elif not is_file:
                parts[-1].append(word)
        found += [list(dropwhile(re.compile(r"\w+=").match, part)) for part in parts]
    return [words for words in found if words]


_HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?\n.*?^\1$", re.DOTALL | re.MULTILINE)


def run_block(script: str, settings: Settings, backup: Path) -> None:
    """Run a block in a shell with Postgres' programs and the command on its path. ``backup`` is its $BACKUP."""
    commands = Path(sys.executable).parent
    path = os.pathsep.join([str(Path(program("psql")).parent), str(commands), os.environ["PATH"]])
    environment = {**os.environ, **settings.to_environment(), "BACKUP": str(backup), "PATH": path}
    done = subprocess.run(
        ["bash", "-eu", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
