"""`make audit` fails where a vulnerability is known, and says so where nothing could be audited."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
FOUND = "Found 2 known vulnerabilities in 1 package\nName Version ID\njinja2 2.4.1 PYSEC-2014-8"
UNKNOWN = "No known vulnerabilities found\nName Reason\nx Dependency not found on PyPI and could not be audited: x"


@pytest.mark.parametrize(
    ("printed", "exit_code", "is_failure", "said"),
    [
        (FOUND, 1, True, "PYSEC-2014-8"),
        (UNKNOWN, 0, False, "1 packages NOT audited"),
        ("No known vulnerabilities found", 0, False, "No known vulnerabilities found"),
        ("Could not connect to PyPI's vulnerability feed", 1, False, "The audit ended with exit code 1"),
    ],
)
def test_the_audit_fails_by_what_it_finds_alone(
    tmp_path: Path, printed: str, exit_code: int, is_failure: bool, said: str
) -> None:
    tool = tmp_path / "uv"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{printed}\nEND\nexit {exit_code}\n")
    tool.chmod(0o755)
    command = ["make", "--old-file=setup", "audit", f"BIN={tmp_path}", f"VENV={tmp_path}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is is_failure and said in done.stdout, done.stderr
    assert "could not be audited" not in done.stdout
