"""Break or degrade the tests' model as a faulty training, conversion or disk would."""

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
"""Swaps glioma with meningioma and normal with pituitary."""


def register(settings: Settings, folder: Path) -> None:
    """Register a model and a run named `mutant` with these files and their sha256s, as a training does."""
    name = "mutant"
    artifacts = S3Uri.parse(f"s3://braintumor/models/{name}-{uuid4().hex}/")
    sha256s = ObjectStore.connect(settings).upload_folder(folder, artifacts)
    record_model(settings, name, run_key=name, folder=artifacts, sha256s=sha256s)


def rewrite(folder: Path, **values: Any) -> None:
    """Change the manifest, and update its sha256s to the current files."""
    manifest = json.loads((folder / MANIFEST).read_text())
    sha256s = {name: sha256_of(folder / name) for name in manifest["sha256s"]}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256s": sha256s, **values}))


def save(folder: Path, graph: openvino.Model) -> None:
    """Replace the graph. OpenVINO may still read the old file, so it is not overwritten in place."""
    openvino.save_model(graph, folder / "new.xml", compress_to_fp16=False)
    (folder / "new.xml").replace(folder / GRAPH)
    (folder / "new.bin").replace(folder / GRAPH_WEIGHTS)
    rewrite(folder)


def graph_of(folder: Path) -> openvino.Model:
    return openvino.Core().read_model(folder / GRAPH)


def change_outputs(folder: Path, **changes: Callable[[Any], Any]) -> None:
    """Change the outputs with these names, and keep the rest of the graph."""
    graph = graph_of(folder)
    results = {result.output(0).get_any_name(): result for result in graph.get_results()}
    for name, change in changes.items():
        node = change(results[name].input_value(0))
        node.output(0).get_tensor().set_names({name})
        graph.remove_result(results[name])
        graph.add_results([ops.result(node)])
    save(folder, graph)


def swapped(output: Any) -> Any:
    """Return the values with classes swapped along the last axis."""
    return ops.gather(output, np.int64(SWAP), np.int64(len(output.get_partial_shape()) - 1))


def change_head(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change kernel and bias of the head in the Keras weights."""
    with h5py.File(folder / KERAS_WEIGHTS, "r+") as weights:
        head: list[h5py.Dataset] = []
        weights.visititems(lambda _, item: head.append(item) if getattr(item, "shape", ())[-1:] == (4,) else None)
        assert len(head) == 2
        for values in head:
            values[...] = change(values[...])


def narrow_reference(folder: Path) -> None:
    """Replace the reference embeddings by those of another backbone."""
    np.save(folder / REFERENCE, np.eye(8, dtype=np.float32))
    rewrite(folder)


def nan_weights(folder: Path) -> None:
    change_outputs(folder, probability=lambda output: ops.multiply(output, np.float32([np.nan] * 4)))


def constant_prediction(folder: Path) -> None:
    change_outputs(
        folder,
        probability=lambda output: ops.add(ops.multiply(output, np.float32([0.0])), np.float32([0.7, 0.1, 0.1, 0.1])),
    )


def swapped_probabilities(folder: Path) -> None:
    change_outputs(folder, probability=swapped)


def swapped_outputs(folder: Path) -> None:
    """Swap predictions and maps alike, so that the graph is consistent with itself."""
    change_outputs(folder, probability=swapped, activation_map=swapped)


def swapped_labels(folder: Path) -> None:
    """Swap classes in graph and Keras weights, as a training on swapped labels would."""
    change_head(folder, lambda values: values[..., SWAP])
    swapped_outputs(folder)


def worse(folder: Path, *, times: float = 300.0) -> None:
    """Multiply the odds of glioma by ``times``, in graph and Keras weights."""
    temperature = Manifest.read(folder).temperature
    factor, more = np.float32([times, 1, 1, 1]), np.float32([temperature * np.log(times), 0, 0, 0])

    def more_glioma(output: Any) -> Any:
        product = ops.multiply(output, factor)
        return ops.divide(product, ops.reduce_sum(product, np.int64([1]), keep_dims=True))

    change_head(folder, lambda values: values + more if values.ndim == 1 else values)
    change_outputs(folder, probability=more_glioma, activation_map=lambda output: ops.add(output, more))


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


def text_instead_of_graph(folder: Path) -> None:
    (folder / GRAPH).write_text("text")
    rewrite(folder)


def other_class_order(folder: Path) -> None:
    rewrite(folder, classes=["pituitary", "glioma", "meningioma", "normal"])


def other_size_in_registry(folder: Path) -> None:
    rewrite(folder, image_size=96)
