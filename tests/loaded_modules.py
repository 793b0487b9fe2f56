"""Call a function of this module and print all loaded modules: ``python -m tests.loaded_modules FUNCTION ...``."""

from __future__ import annotations

import json
import os
import pkgutil
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def loaded_modules(function: Callable[..., None], *arguments: str | Path) -> set[str]:
    """Return the modules that are loaded after a call of a function of this module in a new interpreter."""
    environment = {
        **os.environ,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "dags")]),
    }
    command = [sys.executable, "-m", "tests.loaded_modules", function.__name__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def import_names(*names: str) -> None:
    for name in names:
        pkgutil.resolve_name(name)


def run_files(*paths: str) -> None:
    for path in paths:
        runpy.run_path(path)


def predict_file(model_folder: str, image: str) -> None:
    from braintumor.scoring.predict_files import predict_files
    from braintumor.serving.backend import LoadedModel

    (result,) = predict_files(LoadedModel.load(Path(model_folder)), [Path(image)])
    assert result.to_values()["predicted_class"]


def decode_file(path: str) -> None:
    from braintumor.imaging.decoding.decode import Decoded, decode

    assert isinstance(decode(Path(path).read_bytes()), Decoded)


def show_help(*arguments: str) -> None:
    from click.testing import CliRunner

    from braintumor.cli import command

    assert CliRunner().invoke(command, [*arguments, "--help"]).exit_code == 0


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(sorted(sys.modules)))
