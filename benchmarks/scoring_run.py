"""Compare a whole scoring run with inference alone, with the paper's method, and with a tf.data pipeline.

::

    python -m benchmarks.scoring_run resnet50

The scoring run has all steps: list, plan, claim, read from S3, decode, infer, write to Postgres and reconcile. Postgres
and S3 run on the same cores. The model is loaded before, because a worker loads it once for all of its chunks. Weights
are random, which does not change the time. Each run is timed between two runs of the compared method. So a slow minute
of the machine affects both.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.pairs import HEAD, Comparison
from benchmarks.scoring_stack import SIZE, Speed, scoring_stack
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.letterbox import letterbox
from braintumor.registry import model_versions
from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend
from braintumor.training.classifier import Classifier
from braintumor.training.recipe import Recipe

_ROUNDS = 3
_COUNTS = {"resnet50": 200, "vgg16": 60}
"""Backbone -> number of files of a run, for which inference takes some ten seconds."""
_PAPER_COUNT = 24
"""Number of files for the paper's method, whose time is proportional to the number of files."""
_BATCH = 32


@click.command()
@click.argument("backbone", type=click.Choice(sorted(_COUNTS)))
@click.option("--count", type=int, help="Files a run.")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), help="Only this one.")
def main(backbone: str, count: int | None, precision: str | None) -> None:
    """Print a table of scoring runs of BACKBONE, in 32 and in 8 bits, compared with other methods."""
    click.echo(HEAD)
    keras = Classifier(Recipe.load(backbone).override(initial_weights="random")).serving_model(temperature=1.0)
    with scoring_stack(backbone, count or _COUNTS[backbone], in_8_bits=precision != "fp32") as made:
        others = {"the paper's way": partial(_paper, keras, made.files[:_PAPER_COUNT])}
        others |= {"tf.data, the better of predict and XLA": partial(_tf_data, keras, made.files)}
        for model in made.models.values():
            if precision not in {None, model.precision}:
                continue
            made.promote(model)
            graph = model_versions.fetch_model(made.store, made.settings, model) / GRAPH
            alone = partial(_engine, OpenVinoBackend(graph), _frames(made.files))
            scoring_run = made.scoring_speed()
            for name, theirs in {"engine alone, frames in memory": alone, **others}.items():
                click.echo(_compare(f"{backbone}: scoring run, {model.precision}", scoring_run, name, theirs).row())
            ours = f"engine alone, {model.precision}"
            tool = _compare(ours, alone, "benchmark_app", partial(_benchmark_app, graph))
            click.echo(tool.row())


def _compare(ours_name: str, ours: Speed, theirs_name: str, theirs: Speed) -> Comparison:
    """Compare the speeds of two methods in rounds. Each round measures theirs, ours, and theirs again.

    The mean of both speeds of theirs counts.
    """
    ours(), theirs()  # warm-up
    mine, other = [], []
    for _ in range(_ROUNDS):
        before = theirs()
        mine.append(ours())
        other.append((before + theirs()) / 2)
    return Comparison(ours_name=ours_name, theirs_name=theirs_name, ours=mine, theirs=other)


def _frames(files: list[Path]) -> Any:
    decoded = [decode(path.read_bytes()) for path in files]
    return np.stack([letterbox(d.frames[0].pixels, size=SIZE) for d in decoded if isinstance(d, Decoded)])


def _engine(engine: OpenVinoBackend, frames: Any) -> float:
    started = time.perf_counter()
    engine.run(frames)
    return len(frames) / (time.perf_counter() - started)


def _paper(model: Any, files: list[Path]) -> float:
    """Return the speed of the paper's method in files per second.

    It processes one file after the other: load, resize, ``predict``, print.
    """
    started = time.perf_counter()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        for path in files:
            image = Image.open(path).resize((SIZE, SIZE))
            answer = model.predict(np.asarray(image)[None], verbose=0)
            print(path.name, answer["probability"].argmax(), file=nowhere)
    return len(files) / (time.perf_counter() - started)


def _tf_data(model: Any, files: list[Path]) -> float:
    """Return the speed of a tf.data pipeline in files per second. It decodes in parallel, batches and prefetches.

    The faster of Keras' ``predict`` and a call that XLA compiled counts.
    """
    import tensorflow as tf

    def load(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.image.resize_with_pad(image, SIZE, SIZE), tf.uint8)

    names = tf.data.Dataset.from_tensor_slices([str(path) for path in files])
    frames = names.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(tf.data.AUTOTUNE)
    compiled = _compiled(model)
    speeds = []
    for way in (lambda: model.predict(frames, verbose=0), lambda: [compiled(batch) for batch in frames]):
        started = time.perf_counter()
        way()
        speeds.append(len(files) / (time.perf_counter() - started))
    return max(speeds)


_COMPILED: dict[int, Any] = {}


def _compiled(model: Any) -> Any:
    """Return a function that calls the model with XLA. The function of a model is made once."""
    import tensorflow as tf

    return _COMPILED.setdefault(id(model), tf.function(lambda batch: model(batch, training=False), jit_compile=True))


def _benchmark_app(graph: Path) -> float:
    """Return the frames per second of OpenVINO's tool ``benchmark_app`` for a graph, in its throughput mode."""
    program = Path(sys.executable).with_name("benchmark_app")
    shape = f"[8,{SIZE},{SIZE},3]"
    command = [str(program), "-m", str(graph), "-d", "CPU", "-hint", "throughput", "-shape", shape, "-t", "15"]
    command += ["-infer_precision", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


if __name__ == "__main__":
    main()
