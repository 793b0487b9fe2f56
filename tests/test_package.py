"""The package as pip installs it, far from the clone: its SQL, recipes, rules and pages are inside."""

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


def test_it_knows_the_schema_and_the_cookbook(installed: Path, empty_settings: Settings) -> None:
    assert run(installed, "-m", "braintumor", "migrate", "--plan", settings=empty_settings) == "nothing to apply\n"
    listed = run(installed, "-m", "braintumor", "query", settings=empty_settings)
    assert all(path.stem in listed for path in (PROJECT / "sql" / "queries").glob("*.sql"))


def test_it_has_every_file_of_the_library(installed: Path) -> None:
    ours = {path.relative_to(PROJECT) for path in (PROJECT / "braintumor").rglob("*") if path.is_file()}
    missing = {path for path in ours if "__pycache__" not in path.parts and not (installed / path).is_file()}
    assert not missing
    names = run(installed, "-c", "from braintumor.training.recipe import recipe_names; print(*recipe_names())")
    assert names.split() == list(recipe_names())


def test_it_is_the_installed_one_that_runs(installed: Path) -> None:
    assert run(installed, "-c", "import braintumor; print(braintumor.__file__)").startswith(str(installed))
