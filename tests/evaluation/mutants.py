"""The tests' model, broken or made worse in ways that a training, a conversion or a disk can bring about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np
import openvino
from openvino import opset13 as ops

from braintumor.config.settings import Settings
from braintumor.s3 import ObjectStore, S3Uri
from braintumor.serving.artifact import GRAPH, GRAPH_WEIGHTS, KERAS_WEIGHTS, MANIFEST, REFERENCE, Manifest, sha256_of
from tests.models import record_model

Mutation = Callable[[Path], None]
SWAP = [1, 0, 3, 2]
"""Glioma for meningioma, normal for pituitary."""


def register(settings: Settings, folder: Path) -> None:
    """A model and a run named `mutant`, with these files and their sha256s on record, as a training leaves them."""
    name = "mutant"
    artifacts = S3Uri.parse(f"s3://braintumor/models/{name}-{uuid4().hex}/")
    sha256s = ObjectStore.connect(settings).upload_folder(folder, artifacts)
    record_model(settings, name, run_key=name, folder=artifacts, sha256s=sha256s)


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


def answering(folder: Path, **changes: Callable[[Any], Any]) -> None:
    """The same graph, but for what it says as the outputs of these names."""
    graph = graph_of(folder)
    results = {result.output(0).get_any_name(): result for result in graph.get_results()}
    for name, change in changes.items():
        node = change(results[name].input_value(0))
        node.output(0).get_tensor().set_names({name})
        graph.remove_result(results[name])
        graph.add_results([ops.result(node)])
    save(folder, graph)


def swapped(said: Any) -> Any:
    """The same values in another order of the classes, along the last axis."""
    return ops.gather(said, np.int64(SWAP), np.int64(len(said.get_partial_shape()) - 1))


def change_head(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change kernel and bias of the head in the Keras weights."""
    with h5py.File(folder / KERAS_WEIGHTS, "r+") as weights:
        head: list[h5py.Dataset] = []
        weights.visititems(lambda _, item: head.append(item) if getattr(item, "shape", ())[-1:] == (4,) else None)
        assert len(head) == 2
        for values in head:
            values[...] = change(values[...])


def narrow_reference(folder: Path) -> None:
    """Reference embeddings of another backbone."""
    np.save(folder / REFERENCE, np.eye(8, dtype=np.float32))
    rewrite(folder)


def nan_weights(folder: Path) -> None:
    answering(folder, probability=lambda said: ops.multiply(said, np.float32([np.nan] * 4)))


def constant_answer(folder: Path) -> None:
    answering(
        folder,
        probability=lambda said: ops.add(ops.multiply(said, np.float32([0.0])), np.float32([0.7, 0.1, 0.1, 0.1])),
    )


def swapped_probabilities(folder: Path) -> None:
    answering(folder, probability=swapped)


def swapped_outputs(folder: Path) -> None:
    """Answers and maps alike: nothing in the graph contradicts itself."""
    answering(folder, probability=swapped, activation_map=swapped)


def swapped_labels(folder: Path) -> None:
    """As if it had been trained on labels that were swapped: graph and Keras weights agree."""
    change_head(folder, lambda values: values[..., SWAP])
    swapped_outputs(folder)


def worse(folder: Path, *, times: float = 300.0) -> None:
    """Glioma so many times as likely as before, in graph and Keras weights."""
    temperature = Manifest.read(folder).temperature
    factor, more = np.float32([times, 1, 1, 1]), np.float32([temperature * np.log(times), 0, 0, 0])

    def leaning(said: Any) -> Any:
        product = ops.multiply(said, factor)
        return ops.divide(product, ops.reduce_sum(product, np.int64([1]), keep_dims=True))

    change_head(folder, lambda values: values + more if values.ndim == 1 else values)
    answering(folder, probability=leaning, activation_map=lambda said: ops.add(said, more))


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
