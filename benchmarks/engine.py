"""The serving engine against Keras' own ``predict`` on the same graph and frames, pair by pair in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from braintumor.modelling.classifier import Classifier, export_graph
from braintumor.modelling.recipe import Recipe
from braintumor.serving.engine import Engine

_FRAMES = 64
_PAIRS = 3


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Frames a second of both sides, a pair a round."""

    name: str
    ours: list[float]
    theirs: list[float]

    def row(self) -> str:
        """One row of the table."""
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        speeds = f"{statistics.median(self.ours):.1f} | {statistics.median(self.theirs):.1f}"
        return f"| {self.name}: engine, f32 | Keras predict, batch 32 | {speeds} | {spread} |"


def compare(backbone: str) -> Comparison:
    """Score the same frames, 224 x 224, through both, in turn."""
    recipe = Recipe.load(backbone).override(initial_weights="random")
    model = Classifier(recipe).serving_model(temperature=1.0)
    frames = np.random.default_rng(0).integers(0, 255, (_FRAMES, 224, 224, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        export_graph(model, Path(folder) / "model.xml")
        engine = Engine(Path(folder) / "model.xml")
    ours, theirs = (lambda: engine.run(frames)), (lambda: model.predict(frames, batch_size=32, verbose=0))
    ours(), theirs()  # warm-up
    pairs = [(_speed(ours), _speed(theirs)) for _ in range(_PAIRS)]
    return Comparison(name=backbone, ours=[a for a, _ in pairs], theirs=[b for _, b in pairs])


def _speed(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return _FRAMES / (time.perf_counter() - started)
