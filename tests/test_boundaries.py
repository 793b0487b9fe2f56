"""Check what modules import. import-linter checks the layers, in `make lint`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PACKAGE = PROJECT / "braintumor"
DAGS = sorted((PROJECT / "dags").glob("*.py"))
PLUGINS = sorted((PROJECT / "plugins").glob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_library_knows_neither_airflow_nor_the_demo(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path)}
    assert not roots & {"airflow", "devstack", *(file.stem for file in [*DAGS, *PLUGINS])}
    if "training" not in path.parts:
        assert not roots & {"keras", "tensorflow"}


def test_no_test_borrows_from_another() -> None:
    """Import shared helpers from a module of their own, so that tests do not depend on each other."""
    for path in (PROJECT / "tests").rglob("*.py"):
        borrowed = {name for name in imports(path) if name.startswith("tests.") and ".test_" in name}
        assert not borrowed, f"{path.name} imports {borrowed}"


def loaded_modules(code: str) -> str:
    environment = {
        **os.environ,
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "dags")]),
    }
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def test_what_tasks_and_pages_import_loads_no_tensorflow() -> None:
    """Of training too, only a child process loads it."""
    names = {name for path in [*DAGS, *PLUGINS] for name in imports(path) if name.startswith("braintumor.")}
    statements = ["from {} import {}".format(*name.rsplit(".", 1)) for name in sorted(names)]
    loaded = loaded_modules("\n".join(statements)).splitlines()
    assert {"braintumor.scoring.job", "braintumor.review.page"} <= set(loaded)
    assert not {"tensorflow", "keras"} & set(loaded)


def test_dag_parsing_loads_no_notifier_and_no_task_module() -> None:
    assert {"nightly_scoring.py", "weekly_retrain.py", "roll_back.py"} <= {path.name for path in DAGS}
    loaded = set(
        loaded_modules(f"import runpy\nfor path in {[str(path) for path in DAGS]}: runpy.run_path(path)").splitlines()
    )
    assert "notifications" in loaded
    providers = {"airflow.providers.http.notifications", "airflow.providers.smtp.notifications", "aiohttp", "requests"}
    library = {"braintumor.db.database", "braintumor.registry.promotions", "braintumor.s3", "boto3", "numpy"}
    assert not (providers | library | {"tensorflow", "keras"}) & loaded


def test_scoring_a_file_never_loads_tensorflow(tiny_model_folder: Path, phantoms: Path) -> None:
    image = next(phantoms.rglob("*.png"))
    loaded = loaded_modules(
        f"""
from pathlib import Path
from braintumor.scoring.predict_files import predict_files
from braintumor.serving.backend import LoadedModel
model = LoadedModel.load(Path({str(tiny_model_folder)!r}))
print([result.to_values() for result in predict_files(model, [Path({str(image)!r})])])"""
    )
    assert "predicted_class" in loaded
    assert not {"tensorflow", "keras"} & set(loaded.splitlines())
