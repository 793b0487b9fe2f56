"""What a registered model must be before it may answer: each kind of damage has a check of its own that finds it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from braintumor.evaluation.gate import RuleOutcome
from braintumor.evaluation.soundness import verify_model
from braintumor.objectstore import ObjectStore, S3Uri
from braintumor.serving.artefact import GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, MANIFEST, sha256_of
from braintumor.settings import Settings
from tests.conftest import run_braintumor
from tests.sql import rows

Mutation = Callable[[Path], None]


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tests' model that a test may change."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "mutant"))


def register(settings: Settings, folder: Path, name: str = "mutant") -> None:
    """A model of its own with these files and their sha256s on record, as if a training had ended with them."""
    artefacts = S3Uri.parse(f"s3://braintumor/models/{name}-{uuid4().hex}/")
    sha256s = ObjectStore.connect(settings).upload_folder(folder, artefacts)
    rows(
        settings,
        """
        with trained as (
            insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialisation, history, code_version,
                                      library_versions, device, seconds)
            select :name, :name, recipe, snapshot_id, initialisation, history, code_version, library_versions, device,
                   seconds
            from training_run where run_key = 'seed'
            returning training_run_id
        )
        insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
            count_parameter, artefact_uri, artefact_sha256s, temperature, low_confidence_below, near_tie_below)
        select :name, trained.training_run_id, backbone, precision, image_size, preprocessing, count_parameter,
               :uri, cast(:sha256s as jsonb), temperature, low_confidence_below, near_tie_below
        from model_version, trained where model_version_id = 1""",
        name=name,
        uri=str(artefacts),
        sha256s=json.dumps(sha256s),
    )


def rewrite(folder: Path, **values: Any) -> None:
    """Change the manifest, and let it speak of the files as they are now."""
    manifest = json.loads((folder / MANIFEST).read_text())
    sha256s = {name: sha256_of(folder / name) for name in manifest["sha256s"]}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256s": sha256s, **values}))


def save(folder: Path, graph: openvino.Model) -> None:
    """Put another graph in the place of the old one, which OpenVINO may still read from."""
    openvino.save_model(graph, folder / "new.xml", compress_to_fp16=False)
    (folder / "new.xml").replace(folder / GRAPH)
    (folder / "new.bin").replace(folder / GRAPH_WEIGHTS)
    rewrite(folder)


def graph_of(folder: Path) -> openvino.Model:
    return openvino.Core().read_model(folder / GRAPH)


def answering(folder: Path, change: Callable[[Any], Any]) -> None:
    """The same graph, but for what it says as its probability."""
    graph = graph_of(folder)
    results = {result.output(0).get_any_name(): result for result in graph.get_results()}
    node = change(results["probability"].input_value(0))
    node.output(0).get_tensor().set_names({"probability"})
    graph.remove_result(results["probability"])
    graph.add_results([ops.result(node)])
    save(folder, graph)


def nan_weights(folder: Path) -> None:
    answering(folder, lambda said: ops.multiply(said, np.float32([np.nan] * 4)))


def constant_answer(folder: Path) -> None:
    answering(folder, lambda said: ops.add(ops.multiply(said, np.float32([0.0])), np.float32([0.7, 0.1, 0.1, 0.1])))


def swapped_outputs(folder: Path) -> None:
    answering(folder, lambda said: ops.gather(said, np.int64([1, 0, 2, 3]), np.int64(1)))


def wrong_input_size(folder: Path) -> None:
    graph = graph_of(folder)
    (old,) = graph.get_parameters()
    new = ops.parameter([-1, 96, 96, 3], np.uint8, name="image")
    corner = ops.slice(new, np.int64([0, 0]), np.int64([64, 64]), np.int64([1, 1]), np.int64([1, 2]))
    old.output(0).replace(corner.output(0))
    graph.remove_parameter(old)
    graph.add_parameters([new])
    save(folder, graph)


def truncated_weights(folder: Path) -> None:
    path = folder / GRAPH_WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rewrite(folder)


def words_for_a_graph(folder: Path) -> None:
    (folder / GRAPH).write_text("words")
    rewrite(folder)


def other_class_order(folder: Path) -> None:
    rewrite(folder, classes=["pituitary", "glioma", "meningioma", "normal"])


def other_size_on_record(folder: Path) -> None:
    rewrite(folder, image_size=96)


def only_failure(outcomes: tuple[RuleOutcome, ...]) -> RuleOutcome:
    (failed,) = [outcome for outcome in outcomes if not outcome.passed]
    assert outcomes[-1] is failed, "what comes after it would speak of nothing"
    return failed


def test_a_trained_model_is_whole(settings: Settings) -> None:
    outcomes = verify_model(settings, "1", with_keras=False)
    assert [outcome.name for outcome in outcomes if not outcome.passed] == []
    assert [outcome.name for outcome in outcomes] == [
        "artefact_whole", "class_order", "manifest_matches", "graph_loads", "input_size", "output_shapes",
        "answers_finite", "answers_vary", "map_explains",
    ]  # fmt: skip
    assert all(outcome.reason for outcome in outcomes)


@pytest.mark.parametrize(
    ("mutate", "check", "words"),
    [
        (other_class_order, "class_order", "pituitary, glioma, meningioma, normal, not glioma, meningioma, normal"),
        (other_size_on_record, "manifest_matches", "{'image_size': 96}, the registry {'image_size': 64}"),
        (words_for_a_graph, "graph_loads", "OpenVINO cannot read"),
        (truncated_weights, "graph_loads", "OpenVINO cannot"),
        (wrong_input_size, "input_size", r"takes u8 \(N, 96, 96, 3\), the registry says u8 \(N, 64, 64, 3\)"),
        (nan_weights, "answers_finite", "40 of probability; look for NaN weights"),
        (constant_answer, "answers_vary", "it says the same of every head"),
        (swapped_outputs, "map_explains", "those that its maps explain"),
    ],
)
def test_a_model_that_was_registered_broken_is_found_by_its_own_check(
    settings: Settings, folder: Path, mutate: Mutation, check: str, words: str
) -> None:
    mutate(folder)
    register(settings, folder)
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == check
    assert re.search(words, failed.reason), failed.reason


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "is not the file that was registered"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "is not the file that was registered"),
    ],
    ids=["truncated", "one byte"],
)
@pytest.mark.parametrize("name", [GRAPH_WEIGHTS, KERAS_WEIGHTS])
def test_a_file_that_changed_since_is_found_also_where_a_whole_copy_is_cached(
    settings: Settings, folder: Path, name: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    register(settings, folder)
    ((uri,),) = rows(settings, "select artefact_uri from model_version where model_name = 'mutant'")
    store, address = ObjectStore.connect(settings), S3Uri.parse(uri) / name
    store.write(address, damage(store.read(address)))
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == "artefact_whole" and words in failed.reason


def test_files_that_are_gone_are_said(settings: Settings, folder: Path) -> None:
    register(settings, folder)
    rows(settings, "update model_version set artefact_uri = artefact_uri || 'gone/' where model_name = 'mutant'")
    failed = only_failure(verify_model(settings, "mutant", with_keras=False))
    assert failed.name == "artefact_whole" and "is gone" in failed.reason


def test_the_command_compares_with_keras_and_says_each_check(settings: Settings) -> None:
    table = run_braintumor(settings, "model", "verify", "1").stdout
    assert "graph_parity" in table and "FAILED" not in table
    outcomes = json.loads(run_braintumor(settings, "model", "verify", "1", "--json").stdout)
    parity = outcomes[-1]
    assert parity["name"] == "graph_parity" and parity["value"] < 1e-4 < parity["bound"]


def test_other_weights_than_the_graphs_are_found_by_keras_alone(settings: Settings, folder: Path) -> None:
    """Answers and maps swapped alike: nothing in the graph contradicts itself."""
    graph = graph_of(folder)
    for result in graph.get_results():
        name = result.output(0).get_any_name()
        if name != "embedding":
            said = result.input_value(0)
            axis = len(said.get_partial_shape()) - 1
            node = ops.gather(said, np.int64([1, 0, 2, 3]), np.int64(axis))
            node.output(0).get_tensor().set_names({name})
            graph.remove_result(result)
            graph.add_results([ops.result(node)])
    save(folder, graph)
    register(settings, folder)
    assert all(outcome.passed for outcome in verify_model(settings, "mutant", with_keras=False))
    done = run_braintumor(settings, "model", "verify", "mutant", "--json", check=False)
    assert done.returncode == 1
    failed = json.loads(done.stdout)[-1]
    assert (failed["name"], failed["passed"]) == ("graph_parity", False)
    assert "between Keras and the graph" in failed["reason"]


def test_keras_weights_that_are_none_are_found(settings: Settings, folder: Path) -> None:
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
    done = run_braintumor(settings, "model", "verify", "mutant", "--json", check=False)
    failed = json.loads(done.stdout)[-1]
    assert failed["name"] == "graph_parity" and "no bound is known for the precision int8" in failed["reason"]
