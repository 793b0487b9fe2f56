"""Measure a scoring run of many small frames without inference, with a backend that returns at once.

::

    python -m benchmarks.rows --count 100000

Each file is a different image of 64 x 64 pixels. The benchmark writes the files directly into the folder of the S3
server. A second run over the same files finds nothing new. The worker itself measures the times of the stages within a
chunk.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import text

from benchmarks.discovery import pretend_champion
from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from braintumor.imaging.letterbox import PREPROCESSING
from braintumor.imaging.sandbox.decoder_pool import default_pool
from braintumor.labels import CLASSES
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.run import load_run
from braintumor.scoring.worker import ScanSource, score_chunk
from braintumor.serving.artifact import Manifest
from braintumor.serving.backend import BackendName, LoadedModel, Result
from braintumor.serving.out_of_distribution import normalized
from devstack.stack import Stack

_SIZE = 64
_EMBEDDING = 2048
"""Length of an embedding of ResNet50."""
_KEY = b"a key for the benchmark pseudonyms"


class Stub:
    """A backend that returns the same prediction for every frame at once."""

    name = BackendName.OPENVINO
    device = "none"

    def submit(self, frames: NDArray[np.uint8]) -> Callable[[], Result]:
        """Return a function. The function returns the probabilities 0.7, 0.1, 0.1 and 0.1 for every frame."""
        count = len(frames)
        return lambda: {
            "probability": np.tile(np.array([0.7, 0.1, 0.1, 0.1], np.float32), (count, 1)),
            "activation_map": np.zeros((count, 7, 7, 4), np.float32),
            "embedding": np.ones((count, _EMBEDDING), np.float32),
        }


@click.command()
@click.option("--count", default=100_000, show_default=True, help="Files.")
def main(count: int) -> None:
    """Print the times of a run without arithmetic by stage, and of a run that finds nothing new."""
    with _job_with_scans(count) as job:
        for name in ("first", "nothing new"):
            seconds = dict(_stages(job, name))
            click.echo(f"\n{name}: {count / sum(seconds.values()):.0f} files a second, {sum(seconds.values()):.1f} s")
            for stage, value in seconds.items():
                click.echo(f"  {stage:32} {value:8.1f} s")
        click.echo(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _stages(job: ScoringJob, name: str) -> Iterator[tuple[str, float]]:
    model = stub_model()
    default_pool()
    clock = time.perf_counter()
    run, _ = job.begin(run_key=name)
    yield "list and enter into the ledger", time.perf_counter() - clock
    clock = time.perf_counter()
    chunks = job.plan(run.scoring_run_id)
    yield "plan", time.perf_counter() - clock
    clock = time.perf_counter()
    run = load_run(job.engine, run.scoring_run_id)
    source = ScanSource(store=job.store, pseudonym_key=_KEY)
    for chunk in chunks:
        score_chunk(job.engine, run, chunk, source=source, model=model)
    scored = time.perf_counter() - clock
    with database.transaction(job.engine) as connection:
        rows = connection.execute(text(_STAGES), {"run": run.scoring_run_id})
        inside = {row.stage: row.seconds for row in rows}
    yield "wait for reading and decoding", inside.get("read", 0.0)
    yield "answers", inside.get("infer", 0.0)
    yield "claim and write", scored - sum(inside.values())
    clock = time.perf_counter()
    job.reconcile(run.scoring_run_id)
    yield "reconcile and run report", time.perf_counter() - clock


_STAGES = """
    select stage.key as stage, sum(stage.value::double precision) as seconds
    from scoring_chunk cross join jsonb_each_text(stage_seconds) as stage
    where scoring_run_id = :run group by stage.key"""


def stub_model(*, count_reference: int = 0) -> LoadedModel:
    """Return a model that predicts at once, with ``count_reference`` reference embeddings of 2,048 numbers each."""
    manifest = Manifest(
        recipe="none",
        backbone="none",
        initialization="none",
        snapshot_id="s",
        trained_at="20260101T000000Z",
        precision="fp32",
        image_size=224,
        preprocessing=PREPROCESSING,
        classes=CLASSES,
        count_parameter=1,
        temperature=1.0,
        sha256s={},
    )
    rows = np.random.default_rng(0).random((count_reference, _EMBEDDING), np.float32)
    return LoadedModel(manifest, Stub(), reference=normalized(rows) if count_reference else None)


@contextmanager
def _job_with_scans(count: int) -> Iterator[ScoringJob]:
    with TemporaryDirectory(prefix="rows-") as scratch:
        state = Path(scratch) / "stack"
        with Stack(state, airflow=False) as stack:
            _write_files(stack.objects.data / "braintumor" / "scans", count)
            settings = Settings.from_environment(stack.library_env())
            engine = database.connect(settings)
            migrations.migrate(engine)
            pretend_champion(engine)
            engine.dispose()
            yield ScoringJob.open(settings)


def _write_files(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(_SIZE), np.arange(_SIZE))
    for number in range(count):
        place = folder / f"study-{number // 200:06}"
        if number % 200 == 0:
            place.mkdir(parents=True)
        pixels = slope + rng.integers(0, 64, (_SIZE, _SIZE))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:08}.png", compress_level=1)


if __name__ == "__main__":
    main()
