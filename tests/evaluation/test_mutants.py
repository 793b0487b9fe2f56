"""Tests that the gate refuses each kind of bad candidate with its own reason, and keeps the champion."""

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
    rewrite,
    swapped_labels,
    swapped_outputs,
    truncated_weights,
    worse,
    wrong_input_size,
)
from tests.models import graph_comment
from tests.sql import rows

pytestmark = pytest.mark.soak

WITHOUT_KERAS = partial(verify_model, with_keras=False)
"""Runs in this process and takes a second, for tests that do not need the full check."""
ANY_FIGURES = {
    "minimum_accuracy": 0.0,
    "minimum_macro_recall": 0.0,
    "minimum_class_sensitivity": 0.0,
    "minimum_tumor_sensitivity": 0.0,
    "maximum_calibration_error": 1.0,
    "minimum_images_per_class": 1,
    "noninferiority_margin": 0.25,  # the exact limits of the tests' few images are above the packaged margins
    "reference_margin": 0.5,
}


@pytest.fixture(scope="module")
def judged(
    stack: Stack, seeded: Settings, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the name of a database with an evaluated, unchanged copy of the tests' model named `mutant`."""
    with cloned(stack, "seeded") as url:
        cache = str(tmp_path_factory.mktemp("cache"))
        settings = replace(seeded, database_url=url, cache_folder=cache)
        register(settings, tiny_model_folder)
        for name in ("1", "mutant"):
            run_braintumor(
                settings, "model", "evaluate", name
            )  # a subprocess leaves no open connection to the template
        yield url.rpartition("/")[2].partition("?")[0]


@pytest.fixture
def gated(stack: Stack, seeded: Settings, judged: str, folder: Path, tmp_path: Path) -> Iterator[Settings]:
    """Settings with absolute rules that the weak tiny model passes, and margins for few images."""
    rules = tmp_path / "gate.toml"
    values = {**GateRules.load().model_dump(), **ANY_FIGURES}
    rules.write_text("\n".join(f"{name} = {value}" for name, value in values.items()))
    with cloned(stack, judged) as url:
        settings = replace(seeded, database_url=url, gate_rules=str(rules), cache_folder=str(tmp_path / "cache"))
        replace_files(settings, folder)
        yield settings


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """Copy the tiny model, so that a test may change it. Only a comment distinguishes its graph from the champion's."""
    copy = Path(shutil.copytree(tiny_model_folder, tmp_path / "mutant"))
    with (copy / GRAPH).open("ab") as stream:
        stream.write(graph_comment("mutant"))
    rewrite(copy)
    return copy


def replace_files(settings: Settings, folder: Path, mutate: Mutation = lambda _: None) -> None:
    """Apply a mutation to the folder, and replace the files and sha256s of `mutant` by those of the folder."""
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
    """Change one stored file of the mutant without updating the registry."""
    ((uri,),) = rows(settings, "select artifact_uri from model_version where model_name = 'mutant'")
    store, address = ObjectStore.connect(settings), S3Uri.parse(uri) / file
    store.write(address, change(store.read(address)))


def refused(settings: Settings, *, verify: Verify = verify_in_subprocess) -> dict[str, str]:
    """Judge the mutant, check the refusal, and return the stored reasons by rule."""
    engine = database.connect(settings)
    before = model_versions.find_champion(engine)
    verdict = judge_run(settings, "mutant", verify=verify)
    assert verdict["model_name"] == "mutant" and not verdict["is_passed"]
    with pytest.raises(PromotionError, match="The gate refused"):
        promote_candidate(settings, verdict["gate_verdict_id"])
    stored = rows(settings, "select rules from gate_verdict where gate_verdict_id = :id", id=verdict["gate_verdict_id"])
    reasons = {rule["name"]: rule["reason"] for rule in stored[0][0]["rules"] if not rule["passed"]}
    assert all(f"| {name} | **FAILED** |" in verdict["markdown"] for name in reasons)
    assert model_versions.find_champion(engine) == before
    assert_champion_predicts(settings)
    engine.dispose()
    return reasons


def assert_champion_predicts(settings: Settings) -> None:
    engine, store = database.connect(settings), ObjectStore.connect(settings)
    model = model_versions.champion(engine)
    engine.dispose()
    assert model.model_name != "mutant"
    probabilities = (
        model_versions.load_model(store, settings, model).predict(fixed_frames(model.image_size)).probability
    )
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def override_error(settings: Settings) -> str:
    """Return the error that blocks a promotion with an override."""
    engine = database.connect(settings)
    with pytest.raises(ModelIntegrityError, match="with or without --override, and the champion stays") as caught:
        require_valid_artifact(settings, model_versions.find_model(engine, "mutant"))
    engine.dispose()
    return str(caught.value)


def test_an_override_does_not_promote_a_broken_model(gated: Settings, folder: Path) -> None:
    replace_files(gated, folder, nan_weights)
    done = run_braintumor(gated, "model", "promote", "mutant", "--override", "--reason", "I say so", check=False)
    assert done.returncode == 1 and "answers_finite: values that are not finite numbers" in done.stderr
    assert rows(gated, "select count(*) from promotion") == [(1,)]
    assert_champion_predicts(gated)


def test_the_unchanged_model_passes_and_is_promoted(gated: Settings) -> None:
    """Every test below changes one property of this model."""
    verdict = judge_run(gated, "mutant")
    assert verdict["is_passed"], verdict["markdown"]
    assert "| graph_parity | passed |" in verdict["markdown"] and "| unseen_images | passed |" in verdict["markdown"]
    assert "compared with the champion" in verdict["markdown"]
    assert promote_candidate(gated, verdict["gate_verdict_id"])


@pytest.mark.parametrize(
    ("mutate", "verify"), [(worse, WITHOUT_KERAS), (swapped_labels, verify_in_subprocess)], ids=["worse", "swapped"]
)
def test_a_worse_model_is_refused_by_its_metrics_alone(
    gated: Settings, folder: Path, mutate: Mutation, verify: Verify
) -> None:
    replace_files(gated, folder, mutate)
    evaluate_model(gated, "mutant", access_key="again")
    reasons = refused(gated, verify=verify)
    assert {"accuracy_noninferior", "mcnemar"} <= set(reasons)
    assert "significantly worse" in reasons["mcnemar"]
    assert not {"graph_parity", "map_explains", "artifact_whole"} & set(reasons), "its artifact is valid"


@pytest.mark.parametrize(
    ("mutate", "rule", "words"),
    [
        (nan_weights, "answers_finite", "look for NaN weights"),
        (wrong_input_size, "input_size", "the graph takes u8 (N, 96, 96, 3)"),
        (other_class_order, "class_order", "its class order is pituitary"),
        (truncated_weights, "graph_loads", "OpenVINO cannot"),
    ],
)
def test_a_broken_model_is_refused_even_with_an_override(
    gated: Settings, folder: Path, mutate: Mutation, rule: str, words: str
) -> None:
    replace_files(gated, folder, mutate)
    reasons = refused(gated)
    assert set(reasons) == {rule} and words in reasons[rule]
    assert rule in override_error(gated)


def test_a_graph_that_differs_from_its_weights_is_refused(gated: Settings, folder: Path) -> None:
    replace_files(gated, folder, swapped_outputs)
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
def test_a_changed_file_is_not_judged_and_never_promoted(
    gated: Settings, file: str, change: Callable[[bytes], bytes]
) -> None:
    damage(gated, change, file=file)
    with pytest.raises(
        EvaluationError, match=rf"stored no verdict on mutant.*{file} is not the file that was registered"
    ):
        judge_run(gated, "mutant")
    assert rows(gated, "select count(*) from gate_verdict") == [(0,)]
    assert "artifact_whole" in override_error(gated)


def test_a_model_damaged_after_the_verdict_is_not_promoted(gated: Settings) -> None:
    verdict = judge_run(gated, "mutant", verify=WITHOUT_KERAS)
    assert verdict["is_passed"]
    damage(gated, lambda data: data[1:], file=GRAPH_WEIGHTS)
    with pytest.raises(
        ModelIntegrityError, match="is not promoted, with or without --override, and the champion stays"
    ):
        promote_candidate(gated, verdict["gate_verdict_id"])
    assert_champion_predicts(gated)


def test_a_leak_into_training_is_refused(gated: Settings) -> None:
    rows(gated, "update snapshot_image set split = 'train' where split = 'test' and label = 'glioma'")
    reasons = refused(gated, verify=WITHOUT_KERAS)
    assert "are in its training split" in reasons.pop("unseen_images")
    assert set(reasons) <= {"same_test_images"}, "the champion is evaluated on the current test split"


def test_a_champion_with_fewer_images_is_evaluated_again(gated: Settings) -> None:
    rows(
        gated,
        """
        delete from test_prediction using evaluation
        where evaluation.evaluation_id = test_prediction.evaluation_id and model_version_id = 1 and split = 'test'
          and label = 'normal'""",
    )
    assert judge_run(gated, "mutant", verify=WITHOUT_KERAS)["is_passed"]
    accesses = rows(
        gated,
        """
        select access_key from test_set_access join evaluation using (evaluation_id)
        where model_version_id = 1 and split = 'test' order by accessed_at""",
    )
    assert len(accesses) == 2 and accesses[1] == ("gate of mutant",)


def test_a_failed_check_run_records_no_verdict(gated: Settings) -> None:
    rules = rows(gated, "select count(*) from gate_verdict")
    with pytest.raises(ObjectStoreUnreachableError, match="mutant could not be checked"):
        verify_in_subprocess(replace(gated, s3_endpoint="http://127.0.0.1:9"), "mutant")
    with pytest.raises(EvaluationError, match="There is no model 'no-such-model'"):
        verify_in_subprocess(gated, "no-such-model")
    assert rows(gated, "select count(*) from gate_verdict") == rules
