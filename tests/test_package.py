"""Test that the installed package contains its SQL, recipes, rules and pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from braintumor.config.settings import Settings
from braintumor.training.recipe import recipe_names

PROJECT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    wheels = folder / "wheels"
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, PROJECT], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*PIP, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def run(installed: Path, *command: str, settings: Settings | None = None) -> str:
    environment = {**os.environ, **(settings.to_environment() if settings else {}), "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *command], cwd=installed.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_package_contains_schema_and_saved_queries(installed: Path, empty_settings: Settings) -> None:
    assert (
        run(installed, "-m", "braintumor", "migrate", "--plan", settings=empty_settings) == "no migration is pending\n"
    )
    listed = run(installed, "-m", "braintumor", "query", settings=empty_settings)
    assert all(path.stem in listed for path in (PROJECT / "sql" / "queries").glob("*.sql"))
    claim = run(
        installed, "-c", "from braintumor.db.statements import statement; print(statement('scoring/claim_chunk'))"
    )
    assert "returning attempt" in claim


def test_package_contains_every_file_of_the_library(installed: Path) -> None:
    files = {path.relative_to(PROJECT) for path in (PROJECT / "braintumor").rglob("*") if path.is_file()}
    missing = {path for path in files if "__pycache__" not in path.parts and not (installed / path).is_file()}
    assert not missing
    names = run(installed, "-c", "from braintumor.training.recipe import recipe_names; print(*recipe_names())")
    assert names.split() == list(recipe_names())


def test_package_is_imported_from_its_installation(installed: Path) -> None:
    assert run(installed, "-c", "import braintumor; print(braintumor.__file__)").startswith(str(installed))
