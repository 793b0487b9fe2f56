"""Candidates that must not answer patients: each is blocked for a reason of its own, and the champion goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import EvaluationError, ModelIntegrityError, ObjectStoreUnreachableError, PromotionError
from braintumor.evaluation.evaluate_model import evaluate_model
from braintumor.evaluation.gate.artifact_checks import fixed_frames, require_valid_artifact, verify_model
from braintumor.evaluation.gate.isolated_check import verify_in_subprocess
from braintumor.evaluation.gate.rules import GateRules
from braintumor.evaluation.judge_run import Verify, judge_run
from braintumor.promotion.promote import promote_candidate
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS
from devstack.stack import Stack
from tests.conftest import cloned, run_braintumor
from tests.evaluation.mutants import (
    Mutation,
    nan_weights,
    other_class_order,
    register,
    swapped_labels,
    swapped_outputs,
    truncated_weights,
    worse,
    wrong_input_size,
)
from tests.sql import rows

pytestmark = pytest.mark.soak

WITHOUT_KERAS = partial(verify_model, with_keras=False)
"""In this process and so in a second, where a test is not about what only the real check finds."""
ANY_FIGURES = {
    "minimum_accuracy": 0.0,
    "minimum_macro_recall": 0.0,
    "minimum_class_sensitivity": 0.0,
    "minimum_tumor_sensitivity": 0.0,
    "maximum_calibration_error": 1.0,
    "minimum_images_per_class": 1,
}


@pytest.fixture(scope="module")
def judged(
    stack: Stack, seeded: Settings, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database in which the tests' model stands before the gate under the name `mutant`, still whole."""
    with cloned(stack, "seeded") as url:
        cache = str(tmp_path_factory.mktemp("cache"))
        settings = replace(seeded, database_url=url, cache_folder=cache)
        register(settings, tiny_model_folder)
        for name in ("1", "mutant"):
            run_braintumor(settings, "model", "evaluate", name)  # and leaves no connection to the template behind
        yield url.rpartition("/")[2].partition("?")[0]


@pytest.fixture
def gated(stack: Stack, seeded: Settings, judged: str, folder: Path, tmp_path: Path) -> Iterator[Settings]:
    """The packaged change rules; absolute ones that the tests' weak model reaches on its few images."""
    rules = tmp_path / "gate.toml"
    values = {**GateRules.load().model_dump(), **ANY_FIGURES}
    rules.write_text("\n".join(f"{name} = {value}" for name, value in values.items()))
    with cloned(stack, judged) as url:
        settings = replace(seeded, database_url=url, gate_rules=str(rules), cache_folder=str(tmp_path / "cache"))
        become(settings, folder)
        yield settings


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tests' model that a test may change."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mutant"))


def become(settings: Settings, folder: Path, mutate: Mutation = lambda _: None) -> None:
    """The mutant's files, and their sha256s on record, become those of the folder after a mutation."""
    mutate(folder)
    artifacts = S3Uri.parse(f"s3://braintumor/models/mutant-{uuid4().hex}/")
    sha256s = ObjectStore.connect(settings).upload_folder(folder, artifacts)
    rows(
        settings,
        """
        update model_version set artifact_uri = :uri, artifact_sha256s = cast(:sha256s as jsonb)
        where model_name = 'mutant'""",
        uri=str(artifacts),
        sha256s=json.dumps(sha256s),
    )


def damage(settings: Settings, change: Callable[[bytes], bytes], *, file: str) -> None:
    """Change one stored file of the mutant behind the registry's back."""
    ((uri,),) = rows(settings, "select artifact_uri from model_version where model_name = 'mutant'")
    store, address = ObjectStore.connect(settings), S3Uri.parse(uri) / file
    store.write(address, change(store.read(address)))


def refused(settings: Settings, *, verify: Verify = verify_in_subprocess) -> dict[str, str]:
    """Put the mutant before the gate, which refuses it; the reasons by rule, as the database keeps them."""
    engine = database.connect(settings)
    before = model_versions.find_champion(engine)
    verdict = judge_run(settings, "mutant", verify=verify)
    assert verdict["model_name"] == "mutant" and not verdict["is_passed"]
    with pytest.raises(PromotionError, match="The gate refused"):
        promote_candidate(settings, verdict["gate_verdict_id"])
    found = rows(settings, "select rules from gate_verdict where gate_verdict_id = :id", id=verdict["gate_verdict_id"])
    reasons = {rule["name"]: rule["reason"] for rule in found[0][0]["rules"] if not rule["passed"]}
    assert all(f"| {name} | **FAILED** |" in verdict["markdown"] for name in reasons)
    assert model_versions.find_champion(engine) == before
    assert_the_champion_answers(settings)
    engine.dispose()
    return reasons


def assert_the_champion_answers(settings: Settings) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.champion(engine)
    engine.dispose()
    assert model.model_name != "mutant"
    answers = model_versions.load_model(store, settings, model).predict(fixed_frames(model.image_size)).probability
    assert answers.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def not_even_overridden(settings: Settings) -> str:
    """Why what stands before every promotion refuses it."""
    engine = database.connect(settings)
    with pytest.raises(ModelIntegrityError, match="with or without --override, and the champion stays") as caught:
        require_valid_artifact(settings, model_versions.find_model(engine, "mutant"))
    engine.dispose()
    return str(caught.value)


def test_an_override_does_not_promote_what_is_not_whole(gated: Settings, folder: Path) -> None:
    become(gated, folder, nan_weights)
    done = run_braintumor(gated, "model", "promote", "mutant", "--override", "--reason", "I say so", check=False)
    assert done.returncode == 1 and "answers_finite: values that are no finite numbers" in done.stderr
    assert rows(gated, "select count(*) from promotion") == [(1,)]
    assert_the_champion_answers(gated)


def test_the_model_itself_is_refused_by_nothing(gated: Settings) -> None:
    """What every test below changes one thing of."""
    verdict = judge_run(gated, "mutant")
    assert verdict["is_passed"], verdict["markdown"]
    assert "| graph_parity | passed |" in verdict["markdown"] and "| unseen_images | passed |" in verdict["markdown"]
    assert "compared with the champion" in verdict["markdown"]
    assert promote_candidate(gated, verdict["gate_verdict_id"])


@pytest.mark.parametrize(
    ("mutate", "verify"), [(worse, WITHOUT_KERAS), (swapped_labels, verify_in_subprocess)], ids=["worse", "swapped"]
)
def test_a_model_that_answers_worse_is_refused_by_its_figures_alone(
    gated: Settings, folder: Path, mutate: Mutation, verify: Verify
) -> None:
    become(gated, folder, mutate)
    evaluate_model(gated, "mutant", access_key="again")
    reasons = refused(gated, verify=verify)
    assert {"accuracy_noninferior", "mcnemar"} <= set(reasons)
    assert "significantly worse" in reasons["mcnemar"]
    assert not {"graph_parity", "map_explains", "artifact_whole"} & set(reasons), "its artifact is as whole as can be"


@pytest.mark.parametrize(
    ("mutate", "rule", "words"),
    [
        (nan_weights, "answers_finite", "look for NaN weights"),
        (wrong_input_size, "input_size", "the graph takes u8 (N, 96, 96, 3)"),
        (other_class_order, "class_order", "it answers in the order pituitary"),
        (truncated_weights, "graph_loads", "OpenVINO cannot"),
    ],
)
def test_a_model_that_was_registered_broken_is_refused_and_not_even_overridden(
    gated: Settings, folder: Path, mutate: Mutation, rule: str, words: str
) -> None:
    become(gated, folder, mutate)
    reasons = refused(gated)
    assert set(reasons) == {rule} and words in reasons[rule]
    assert rule in not_even_overridden(gated)


def test_a_graph_with_other_classes_than_its_weights_is_refused(gated: Settings, folder: Path) -> None:
    become(gated, folder, swapped_outputs)
    reasons = refused(gated)
    assert set(reasons) == {"graph_parity"} and "between Keras and the graph" in reasons["graph_parity"]


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (GRAPH_WEIGHTS, lambda data: data[: len(data) // 2]),
        (GRAPH, lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]),
    ],
    ids=["truncated file", "tampered byte"],
)
def test_a_file_that_is_not_the_registered_one_is_refused_and_not_even_overridden(
    gated: Settings, file: str, change: Callable[[bytes], bytes]
) -> None:
    damage(gated, change, file=file)
    reasons = refused(gated)
    assert set(reasons) == {"artifact_whole"}
    assert f"{file} is not the file that was registered" in reasons["artifact_whole"]
    assert "artifact_whole" in not_even_overridden(gated)


def test_a_model_that_is_damaged_after_it_passed_is_not_promoted(gated: Settings) -> None:
    verdict = judge_run(gated, "mutant", verify=WITHOUT_KERAS)
    assert verdict["is_passed"]
    damage(gated, lambda data: data[1:], file=GRAPH_WEIGHTS)
    with pytest.raises(
        ModelIntegrityError, match="is not promoted, with or without --override, and the champion stays"
    ):
        promote_candidate(gated, verdict["gate_verdict_id"])
    assert_the_champion_answers(gated)


def test_a_split_that_leaks_is_refused(gated: Settings) -> None:
    rows(gated, "update snapshot_image set split = 'train' where split = 'test' and label = 'glioma'")
    reasons = refused(gated, verify=WITHOUT_KERAS)
    assert "lie in its training split" in reasons.pop("unseen_images")
    assert set(reasons) <= {"same_test_images"}, "the champion is asked about the test split as it is now"


def test_a_champion_that_was_judged_on_fewer_images_is_judged_again(gated: Settings) -> None:
    rows(
        gated,
        """
        delete from test_prediction using evaluation
        where evaluation.evaluation_id = test_prediction.evaluation_id and model_version_id = 1 and split = 'test'
          and label = 'normal'""",
    )
    assert judge_run(gated, "mutant", verify=WITHOUT_KERAS)["is_passed"]
    looks = rows(
        gated,
        """
        select access_key from test_set_access join evaluation using (evaluation_id)
        where model_version_id = 1 and split = 'test' order by accessed_at""",
    )
    assert len(looks) == 2 and looks[1] == ("gate of mutant",)


def test_where_the_check_cannot_be_made_nothing_is_recorded(gated: Settings) -> None:
    rules = rows(gated, "select count(*) from gate_verdict")
    with pytest.raises(ObjectStoreUnreachableError, match="mutant could not be checked"):
        verify_in_subprocess(replace(gated, s3_endpoint="http://127.0.0.1:9"), "mutant")
    with pytest.raises(EvaluationError, match="There is no model 'nobody'"):
        verify_in_subprocess(gated, "nobody")
    assert rows(gated, "select count(*) from gate_verdict") == rules
