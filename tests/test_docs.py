"""Check the documents: links, queries and lists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import text

from braintumor.cli.train import train
from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.imaging.decoding.rejection import RejectionReason
from braintumor.imaging.phantom.slice import write_unlabeled
from braintumor.imaging.phantom.volume import as_nifti, draw_volume
from braintumor.labels import TumorClass
from braintumor.registry import model_versions
from braintumor.rescoring.job import rescore
from braintumor.rescoring.request import RescoreRequest
from braintumor.scoring.job import run_scoring_job
from braintumor.serving.prediction import ReviewReason
from braintumor.training.recipe import Recipe, recipe_names
from devstack.stack import Stack
from tests.conftest import Put, as_role
from tests.documents import blocks
from tests.models import add_model, promote
from tests.reviews import add_reviews
from tests.sql import rows

PROJECT = Path(__file__).parent.parent
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def test_examples_of_set_change_the_recipe() -> None:
    texts = [*(path.read_text() for path in PAGES), train.epilog or ""]
    examples = [line for text in texts for line in text.splitlines() if "--recipe " in line and "--set " in line]
    assert len(examples) == 2
    for line in examples:
        (name,) = re.findall(r"--recipe (\w+)", line)
        settings = re.findall(r"--set (\S+?)(?=[,\s]|$)", line)
        assert settings and Recipe.load(name).repeated(tomllib.loads("\n".join(settings))) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_inside_the_project_have_targets(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_query_in_docs_returns_rows_for_its_reader(
    stack: Stack, settings: Settings, put: Put, tmp_path: Path
) -> None:
    for path in write_unlabeled(tmp_path, count=20, seed=2):
        put(path.name, path.read_bytes())
    put("copy.png", path.read_bytes())
    put("text.jpg", b"text")
    put("volume.nii.gz", as_nifti(draw_volume(TumorClass.GLIOMA, seed=1, slices=8, size=64)))
    run_scoring_job(settings, run_key="scoring")
    engine = database.connect(settings)
    seed = model_versions.champion(engine).model_name
    add_model(settings, "b")
    promote(settings, "b")
    rescore(settings, RescoreRequest(actor="ann", reason="b knows more", of=(seed,)), run_key="rescore")
    with database.transaction(engine) as connection:
        connection.execute(text("update prediction set predicted_class = 'glioma' where scan_id % 2 = 0"))
        connection.execute(text("update prediction set predicted_class = 'normal' where scoring_run_id = 1"))
        connection.execute(text("update prediction set prediction_set = '{glioma,meningioma}'"))
        connection.execute(text(_EVALUATION))
        connection.execute(text("update scan set audit_probability = 0.02 where scan_id = 1"))
        connection.execute(
            text("insert into evaluation_slice select evaluation_id, 'sex', 'F', 1, 1, 1 from evaluation")
        )
    engine.dispose()
    add_reviews(settings, 1, "pituitary", "ann", purpose="audit", blind=True)
    for page in PAGES:
        reader = as_role(stack, settings, Role.ANALYST) if page.stem in {"analyst", "README"} else settings
        for query in blocks(page.read_text(), "sql"):
            assert rows(reader, query), query
    assert len(blocks((PROJECT / "docs" / "analyst.md").read_text(), "sql")) >= 15


_EVALUATION = """
insert into evaluation (model_version_id, snapshot_id, split, count_image, accuracy, accuracy_low, accuracy_high,
    macro_precision, macro_recall, macro_f1, expected_calibration_error, log_loss)
select 1, snapshot_id, 'test', 1, 1, 0, 1, 1, 1, 1, 0, 0 from snapshot"""


def test_every_review_reason_is_documented() -> None:
    page = (PROJECT / "docs" / "analyst.md").read_text()
    for reason in ReviewReason:
        assert f"| `{reason}` |" in page


def test_every_reason_code_is_documented_and_explained() -> None:
    page = (PROJECT / "docs" / "operator.md").read_text()
    for reason in RejectionReason:
        assert f"`{reason}`" in page
        assert reason.explanation.endswith(".") and reason.remedy.endswith(".")


def test_every_recipe_is_in_the_table_with_its_size_and_weights() -> None:
    page = (PROJECT / "docs" / "ml-engineer.md").read_text()
    for name in recipe_names():
        (line,) = [row for row in page.splitlines() if row.startswith("|") and f"`{name}`" in row]
        recipe = Recipe.load(name)
        assert line.endswith(f"| {recipe.image_size} |")
        assert {"imagenet": "ImageNet", "random": "random"}[recipe.initial_weights] in line
