"""Compare the speed of the inference backend with Keras' ``predict``, and of its 8-bit model with its 32-bit model.

The two sides of a comparison are timed in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openvino

from benchmarks.pairs import HEAD, Comparison
from braintumor.serving.backend import OpenVinoBackend
from braintumor.training.classifier import Classifier, export_graph
from braintumor.training.export.quantize import quantized
from braintumor.training.recipe import Recipe

_FRAMES = 64
_PAIRS = 3


def compare(backbone: str) -> list[Comparison]:
    """Score the same frames, 224 x 224, through Keras, the backend, and the backend in 8 bits."""
    recipe = Recipe.load(backbone).override(initial_weights="random")
    model = Classifier(recipe).serving_model(temperature=1.0)
    frames = np.random.default_rng(0).integers(0, 255, (_FRAMES, 224, 224, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        graph, small = Path(folder) / "model.xml", Path(folder) / "int8.xml"
        export_graph(model, graph)
        openvino.save_model(quantized(graph, frames), small, compress_to_fp16=False)
        engine, in_8_bits = OpenVinoBackend(graph), OpenVinoBackend(small)
    keras = partial(model.predict, frames, batch_size=32, verbose=0)
    return [
        _pairs(f"{backbone}: engine, f32", partial(engine.run, frames), "Keras predict, batch 32", keras),
        _pairs(f"{backbone}: engine, int8", partial(in_8_bits.run, frames), "engine, f32", partial(engine.run, frames)),
    ]


def _pairs(ours_name: str, ours: Callable[[], Any], theirs_name: str, theirs: Callable[[], Any]) -> Comparison:
    ours(), theirs()  # warm-up
    pairs = [(_speed(ours), _speed(theirs)) for _ in range(_PAIRS)]
    return Comparison(
        ours_name=ours_name, theirs_name=theirs_name, ours=[a for a, _ in pairs], theirs=[b for _, b in pairs]
    )


def _speed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return _FRAMES / (time.perf_counter() - started)


if __name__ == "__main__":
    print(HEAD)
    for name in ("resnet50", "vgg16"):
        for comparison in compare(name):
            print(comparison.row(), flush=True)
