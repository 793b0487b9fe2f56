"""Tests that each kind of damage to a registered model is found by its own check."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from braintumor.config.settings import Settings
from braintumor.errors import EvaluationError
from braintumor.evaluation.gate import isolated_check
from braintumor.evaluation.gate.artifact_checks import verify_model
from braintumor.evaluation.gate.gate import RuleOutcome
from braintumor.registry import model_versions
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH_WEIGHTS, KERAS_WEIGHTS, sha256_of
from tests.conftest import invoke, run_braintumor
from tests.evaluation.mutants import (
    Mutation,
    constant_prediction,
    nan_weights,
    narrow_reference,
    other_class_order,
    other_size_in_registry,
    register,
    rewrite,
    swapped_probabilities,
    text_instead_of_graph,
    truncated_weights,
    wrong_input_size,
)
from tests.sql import rows


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """Copy the tiny model, so that a test may change it."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mutant"))


def only_failure(outcomes: tuple[RuleOutcome, ...]) -> RuleOutcome:
    (failed,) = [outcome for outcome in outcomes if not outcome.passed]
    assert outcomes[-1] is failed, "checks after a failure must not run"
    return failed


def test_a_trained_model_passes_every_check(settings: Settings) -> None:
    outcomes = verify_model(settings, "1", with_keras=False)
    assert [outcome.name for outcome in outcomes if not outcome.passed] == []
    assert [outcome.name for outcome in outcomes] == [
        "artifact_whole", "class_order", "manifest_matches", "graph_loads", "input_size", "output_shapes",
        "reference_fits", "answers_finite", "answers_vary", "map_explains",
    ]  # fmt: skip
    assert all(outcome.reason for outcome in outcomes)


@pytest.mark.parametrize(
    ("mutate", "check", "words"),
    [
        (other_class_order, "class_order", "pituitary, glioma, meningioma, normal, not glioma, meningioma, normal"),
        (other_size_in_registry, "manifest_matches", "{'image_size': 96}, the registry {'image_size': 64}"),
        (text_instead_of_graph, "graph_loads", "OpenVINO cannot read"),
        (truncated_weights, "graph_loads", "OpenVINO cannot"),
        (wrong_input_size, "input_size", r"takes u8 \(N, 96, 96, 3\), the registry has u8 \(N, 64, 64, 3\)"),
        (narrow_reference, "reference_fits", "rows of 8 values, its embedding 512"),
        (nan_weights, "answers_finite", "40 of probability; look for NaN weights"),
        (constant_prediction, "answers_vary", "every head gets the same prediction"),
        (swapped_probabilities, "map_explains", "those computed from its maps"),
    ],
)
def test_each_kind_of_broken_model_fails_its_own_check(
    settings: Settings, folder: Path, mutate: Mutation, check: str, words: str
) -> None:
    mutate(folder)
    register(settings, folder)
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == check
    assert re.search(words, failed.reason), failed.reason


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]],
    ids=["truncated", "one byte"],
)
@pytest.mark.parametrize("name", [GRAPH_WEIGHTS, KERAS_WEIGHTS])
def test_a_changed_file_fails_even_with_a_valid_cached_copy(
    settings: Settings, engine: Engine, folder: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    register(settings, folder)
    ((uri,),) = rows(settings, "select artifact_uri from model_version where model_name = 'mutant'")
    store, address = ObjectStore.connect(settings), S3Uri.parse(uri) / name
    model = model_versions.find_model(engine, "mutant")
    cached = model_versions.fetch_model(store, settings, model, also=(KERAS_WEIGHTS,)) / name
    store.write(address, damage(store.read(address)))
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == "artifact_whole" and "is not the file that was registered" in failed.reason
    assert sha256_of(cached) == model.artifact_sha256s[name]


def test_missing_files_fail_with_a_reason(settings: Settings, folder: Path) -> None:
    register(settings, folder)
    rows(settings, "update model_version set artifact_uri = artifact_uri || 'gone/' where model_name = 'mutant'")
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == "artifact_whole" and "is gone" in failed.reason


def test_a_crash_of_the_check_gives_no_result(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = subprocess.CompletedProcess([], returncode=-signal.SIGABRT, stdout="", stderr="no memory left")
    monkeypatch.setattr(isolated_check.subprocess, "run", lambda *_, **__: crashed)
    with pytest.raises(EvaluationError, match="no result: the process that loaded it was ended by SIGABRT: no memory"):
        isolated_check.verify_in_subprocess(settings, "1")


@pytest.mark.soak
def test_verify_command_compares_with_keras_and_prints_checks(settings: Settings) -> None:
    table = run_braintumor(settings, "model", "verify", "1", "--no-parity").stdout
    assert "map_explains" in table and "graph_parity" not in table and "FAILED" not in table
    outcomes = json.loads(run_braintumor(settings, "model", "verify", "1", "--json").stdout)
    parity = outcomes[-1]
    assert parity["name"] == "graph_parity" and parity["value"] < 1e-4 < parity["bound"]


@pytest.mark.soak
def test_invalid_keras_weights_fail_graph_parity(settings: Settings, folder: Path) -> None:
    path = folder / KERAS_WEIGHTS
    path.write_bytes(path.read_bytes()[:5000])
    rewrite(folder)
    register(settings, folder)
    done = run_braintumor(settings, "model", "verify", "mutant", check=False)
    assert done.returncode == 1 and "graph_parity" in done.stdout and "does not fit" in done.stdout
    assert run_braintumor(settings, "model", "verify", "mutant", "--no-parity").returncode == 0


def test_a_precision_without_a_bound_is_refused(settings: Settings, folder: Path) -> None:
    rewrite(folder, precision="int8")
    register(settings, folder)
    rows(settings, "update model_version set precision = 'int8' where model_name = 'mutant'")
    done = invoke(settings, "model", "verify", "mutant", "--json")
    failed = json.loads(done.stdout)[-1]
    assert failed["name"] == "graph_parity" and "no bound is known for the precision int8" in failed["reason"]
