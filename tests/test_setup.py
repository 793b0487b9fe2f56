"""Check what ``make setup`` runs with uv, and with pip if uv fails. The tests install nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
LOCK = PROJECT / "requirements.lock"
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "UV_SYSTEM_CERTS",
                "UV_NATIVE_TLS")  # fmt: skip


def run(command: list[str], **changed: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the variables that name certificates."""
    environment = {name: value for name, value in os.environ.items() if name not in CERTIFICATES} | changed
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def make(*arguments: str, **changed: str) -> str:
    done = run(["make", "--no-print-directory", f"VENV={sys.prefix}", *arguments], MAKEFLAGS="", **changed)
    assert done.returncode == 0, done.stderr
    return done.stdout


def installs(lock: Path) -> tuple[list[str], list[str]]:
    """Return the commands with which ``make setup`` installs the lock, uv's and then pip's, as dry runs of a lock."""
    text = make("--dry-run", "--what-if=requirements.lock", "setup").replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if "-r requirements.lock" in line]
    with_uv, with_pip = (shlex.split(part) for part in line.split("||"))
    assert (Path(with_uv[0]).name, with_pip[1:3]) == ("uv", ["-m", "pip"])
    for command in (with_uv, with_pip):
        assert "--require-hashes" in command
        command[command.index("--quiet")] = "--dry-run"
        command[command.index("requirements.lock")] = str(lock)
    return with_uv, with_pip


@pytest.mark.parametrize(("own", "expected"), [({}, "1"), ({"UV_SYSTEM_CERTS": "0"}, "0")])
def test_uv_trusts_system_certificates_unless_disabled(own: dict[str, str], expected: str) -> None:
    shown = make("--eval", "shown:\n\t@echo $$UV_SYSTEM_CERTS", "shown", **own)
    assert shown.strip() == expected


def test_pinned_uv_supports_the_certificate_setting() -> None:
    with_uv, _ = installs(LOCK)
    shown = run([with_uv[0], "pip", "install", "--help"]).stdout
    assert "[env: UV_SYSTEM_CERTS=]" in " ".join(shown.split())
    version = run([with_uv[0], "--version"]).stdout.split()[1]
    assert re.findall(r"^UV_VERSION := (\S+)$", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE) == [version]


def test_uv_and_pip_accept_the_lock() -> None:
    with_uv, with_pip = installs(LOCK)
    with_uv_done = run([*with_uv, "--offline"])
    assert with_uv_done.returncode == 0, with_uv_done.stderr
    with_pip_done = run(with_pip, PIP_NO_INDEX="1")
    assert with_pip_done.returncode == 0, with_pip_done.stderr
    assert "Would install" not in with_pip_done.stdout


@pytest.mark.parametrize(
    "requirement", ["setup-probe-b[extra]", "setup-probe-b[extra]>=1,<3", "setup-probe-b[extra]; python_version > '3'"]
)
def test_pip_installs_lock_with_a_requirement_on_an_extra(tmp_path: Path, requirement: str) -> None:
    """pip would look for the newest version of such a package, which has no hash in the lock."""
    wheel(tmp_path, "setup_probe_b", version="2.5")
    wheels = [wheel(tmp_path, "setup_probe_a", requires=requirement), wheel(tmp_path, "setup_probe_b")]
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(locked(path) for path in wheels))
    _, with_pip = installs(lock)
    done = run([*with_pip, "--find-links", str(tmp_path)], PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "Would install setup-probe-a-2.0 setup-probe-b-2.0" in done.stdout.replace("_", "-")


def test_pip_refuses_package_with_another_hash(tmp_path: Path) -> None:
    path = wheel(tmp_path, "setup_probe_a")
    lock = tmp_path / "requirements.lock"
    lock.write_text(locked(path))
    wheel(tmp_path, "setup_probe_a", requires="setup-probe-b")
    _, with_pip = installs(lock)
    done = run([*with_pip, "--find-links", str(tmp_path)], PIP_NO_INDEX="1")
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr


def test_old_unconfigured_pip_gets_system_certificates(tmp_path: Path) -> None:
    """Expect nothing to be written if this machine configures pip for all users."""
    wheel(tmp_path, "uv")
    folder, bundle = tmp_path / "venv", tmp_path / "machine.pem"
    bundle.touch()
    run([sys.executable, "-m", "venv", str(folder)])
    pip = [f"{folder}/bin/python", "-m", "pip"]
    is_configured = "cert=" in run([*pip, "config", "list"]).stdout
    is_old = [int(part) for part in run([*pip, "--version"]).stdout.split()[1].split(".")[:2]] < [24, 2]
    given = {"SSL_CERT_FILE": str(bundle), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    expected = f"[global]\ncert = {bundle}\n\n" if is_old and not is_configured else ""
    for own, written in ({"PIP_CERT": "/etc/ssl/the-hospitals-own.pem"}, ""), ({}, expected):
        done = run(["make", "-B", f"VENV={folder}", "UV_VERSION=2.0", f"{folder}/bin/uv"], MAKEFLAGS="", **given, **own)
        assert done.returncode == 0, done.stderr
        found = (folder / "pip.conf").read_text() if (folder / "pip.conf").exists() else ""
        assert found == written


def test_clean_removes_a_partly_installed_environment(tmp_path: Path) -> None:
    program = tmp_path / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    command = ["make", "-C", str(tmp_path), "-f", str(PROJECT / "Makefile"), "VENV=venv", "clean"]
    done = run(command, MAKEFLAGS="")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def wheel(folder: Path, name: str, *, version: str = "2.0", requires: str | None = None) -> Path:
    """Make an empty package."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else "Provides-Extra: extra\n"),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def locked(path: Path) -> str:
    """Return the line of a lock for a wheel."""
    name = path.name.partition("-")[0].replace("_", "-")
    return f"{name}==2.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
