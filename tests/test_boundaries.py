"""Check what modules import. import-linter checks the layers, in `make lint`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.loaded_modules import import_names, loaded_modules, predict_file, run_files

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


def test_what_tasks_and_pages_import_loads_no_tensorflow() -> None:
    """Of training too, only a child process loads it."""
    names = {name for path in [*DAGS, *PLUGINS] for name in imports(path) if name.startswith("braintumor.")}
    loaded = loaded_modules(import_names, *sorted(names))
    assert {"braintumor.scoring.job", "braintumor.review.page"} <= loaded
    assert not {"tensorflow", "keras"} & loaded


def test_scoring_a_chunk_loads_no_scipy() -> None:
    """Importing ``scipy.special`` takes 0.2 s, and the task `score` does not need it."""
    loaded = loaded_modules(import_names, "braintumor.scoring.job.ScoringJob")
    assert "openvino" not in loaded and not {"scipy", "sklearn", "pandas", "matplotlib"} & loaded


def test_dag_parsing_loads_no_notifier_and_no_task_module() -> None:
    assert {"nightly_scoring.py", "weekly_retrain.py", "roll_back.py"} <= {path.name for path in DAGS}
    loaded = loaded_modules(run_files, *DAGS)
    assert "notifications" in loaded
    providers = {"airflow.providers.http.notifications", "airflow.providers.smtp.notifications", "aiohttp", "requests"}
    library = {"braintumor.db.database", "braintumor.registry.promotions", "braintumor.s3", "boto3", "numpy"}
    assert not (providers | library | {"tensorflow", "keras"}) & loaded


def test_scoring_a_file_never_loads_tensorflow(tiny_model_folder: Path, phantoms: Path) -> None:
    image = next(phantoms.rglob("*.png"))
    loaded = loaded_modules(predict_file, tiny_model_folder, image)
    assert not {"tensorflow", "keras"} & loaded
