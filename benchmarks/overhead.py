"""Measure the processor milliseconds per file that a scoring run spends outside inference.

::

    python -m benchmarks.overhead compare
    python -m benchmarks.overhead compare --precisions none    # with a backend that returns at once
    python -m benchmarks.overhead compare --images FOLDER      # with JPEG files of scans instead of phantoms
    python -m benchmarks.overhead compare --against FOLDER     # alternate with another checkout of the project

A run lists, reads from S3, decodes, predicts and writes to Postgres. Each round times inference alone on the same
frames, the run, and inference alone again. The result has two definitions, because other load on the machine changes
the first one:

- by wall time: number of cores x (wall time of the run - wall time of inference alone) - processor time of S3
- by processor time: worker - inference alone + decoder processes + Postgres
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import IO

import click
import numpy as np
import psutil

from benchmarks.rows import stub_model
from benchmarks.scoring_stack import SIZE, ScoringStack, scoring_stack, to_mr_object, to_volume
from braintumor.config.settings import Settings
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.letterbox import letterbox
from braintumor.imaging.sandbox import decoder_process
from braintumor.registry import model_versions
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.run import ScoringRun, load_run
from braintumor.scoring.worker import ScanSource, score_chunk
from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import LoadedModel, OpenVinoBackend
from devstack.service import Service

_ROUNDS = 7
_COUNT = 200
_NONE = "none"
"""Name of the backend that predicts at once. Then all processor time is outside inference."""
_REFERENCES = 2_000
_CONVERT: Mapping[str, Callable[[Path], Path]] = {"jpeg": Path, "dicom": to_mr_object, "nifti": to_volume}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds per file. ``run`` and ``inference`` are wall times, all other values are processor times."""

    run: float
    inference: float
    inference_cpu: float
    worker: float
    decoders: float
    postgres: float
    s3: float

    @property
    def by_processor_time(self) -> float:
        """Return the processor time outside inference of all processes except S3."""
        return self.worker + self.decoders + self.postgres

    @property
    def by_wall_time(self) -> float:
        """Return the wall time outside inference times the number of cores, minus the processor time of S3."""
        return (os.cpu_count() or 1) * (self.run - self.inference) - self.s3


HEAD = """| files | model | code | ms (least to most) | worker | decoders | Postgres | by wall time | inference, CPU |
|---|---|---|---|---:|---:|---:|---:|---:|"""


def row(kind: str, precision: str, code: str, costs: Sequence[Cost]) -> str:
    """Return a row of the printed table: the medians of ``costs``, which has one item per round."""
    middle = {name: median(asdict(cost)[name] for cost in costs) for name in asdict(costs[0])}
    totals = [cost.by_processor_time for cost in costs]
    parts = " | ".join(f"{middle[name]:.1f}" for name in ("worker", "decoders", "postgres"))
    wall = median(cost.by_wall_time for cost in costs)
    spread = f"{median(totals):.1f} ({min(totals):.1f} to {max(totals):.1f})"
    return f"| {kind} | {precision} | {code} | {spread} | {parts} | {wall:.1f} | {middle['inference_cpu']:.1f} |"


@click.group()
def main() -> None:
    """Compare runs with inference alone, or run one of the workers."""


@main.command()
@click.option("--count", default=_COUNT, show_default=True, help="Files per run.")
@click.option("--rounds", default=_ROUNDS, show_default=True)
@click.option("--kinds", default="jpeg,dicom", show_default=True, help="Formats of the files.")
@click.option("--precisions", default="fp32,int8", show_default=True, help="Precisions of ResNet50, or none.")
@click.option("--images", type=click.Path(exists=True, path_type=Path), help="JPEG files, instead of phantoms.")
@click.option("--against", type=click.Path(exists=True, path_type=Path), multiple=True, help="Other checkouts.")
def compare(
    *, count: int, rounds: int, kinds: str, precisions: str, images: Path | None, against: tuple[Path, ...]
) -> None:
    """Print a table of processor milliseconds per file outside inference."""
    click.echo(HEAD)
    checkouts = {"this": Path(__file__).parents[1], **{folder.name: folder for folder in against}}
    backbone = None if precisions == _NONE else "resnet50"
    with scoring_stack(backbone, count, images=images, in_8_bits="int8" in precisions) as made:
        for precision, kind in product(precisions.split(","), kinds.split(",")):
            if precision != _NONE:
                made.promote(made.models[precision])
            given = replace(made, files=[_CONVERT[kind](path) for path in made.files])
            with ExitStack() as running:
                workers = {name: running.enter_context(_worker(given, precision, at)) for name, at in checkouts.items()}
                costs: dict[str, list[Cost]] = {name: [] for name in workers}
                for _ in range(rounds):
                    for name, measure in workers.items():
                        costs[name].append(measure())
            for name, measured in costs.items():
                click.echo(row(kind, precision, name, measured))


@contextmanager
def _worker(made: ScoringStack, precision: str, checkout: Path) -> Iterator[Callable[[], Cost]]:
    """Start a worker process with the code of ``checkout``, and yield a function that measures a scoring run in it."""
    servers = [str(pid_of(service)) for service in (made.stack.postgres.service, made.stack.objects.service)]
    files = [str(made.files[0].parent), made.files[0].suffix]
    command = [sys.executable, "-P", __file__, "work", *servers, *files, precision]
    environment = {**os.environ, **made.settings.to_environment(), "PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        written, read = _require(process.stdin), _require(process.stdout)

        def answer() -> str:
            print(made.write_files(), file=written, flush=True)
            line = read.readline()
            if not line:
                raise RuntimeError("The worker failed. Its messages are above.")
            return line

        answer()  # a warm-up
        yield lambda: Cost(**json.loads(answer()))
        written.close()


@main.command()
@click.argument("postgres", type=int)
@click.argument("s3", type=int)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("suffix")
@click.argument("precision")
def work(postgres: int, s3: int, folder: Path, suffix: str, precision: str) -> None:
    """Measure a run over each prefix that standard input names."""
    decoder_process._ENVIRONMENT += ("PYTHONPATH",)  # type: ignore[assignment]  # decoders run this checkout too
    job = ScoringJob.open(Settings.from_environment())
    paths = sorted(folder.glob(f"*{suffix}"))
    stub = stub_model(count_reference=_REFERENCES) if precision == _NONE else None
    run = _score(job, sys.stdin.readline().strip(), stub)  # a warm-up, which also loads the model
    infer = _inference(job, run, paths) if stub is None else lambda: None
    print("ready", flush=True)
    for line in sys.stdin:
        cost = _measured(partial(_score, job, line.strip(), stub), infer, postgres=postgres, s3=s3)
        print(json.dumps({name: value * 1000 / len(paths) for name, value in cost.items()}), flush=True)


def _inference(job: ScoringJob, run: ScoringRun, paths: list[Path]) -> Callable[[], object]:
    """Return a function that predicts all frames of the files with a separate backend (inference alone)."""
    decoded = [decode(path.read_bytes()) for path in paths]
    frames = [frame.pixels for each in decoded if isinstance(each, Decoded) for frame in each.frames]
    prepared = np.stack([letterbox(pixels, size=SIZE) for pixels in frames])
    backend = OpenVinoBackend(model_versions.fetch_model(job.store, job.settings, run.model) / GRAPH)
    backend.run(prepared)
    return partial(backend.run, prepared)


def _measured(score: Callable[[], object], infer: Callable[[], object], *, postgres: int, s3: int) -> dict[str, float]:
    """Return the values of ``Cost`` in seconds for all files of one run.

    Inference alone is timed before and after the run. Its mean is subtracted from the worker's processor time.
    """
    before = _timed(infer)
    used = [family_seconds(server) for server in (os.getpid(), postgres, s3)]
    wall, own = _timed(score)
    family, *servers = [
        family_seconds(server) - earlier for server, earlier in zip((os.getpid(), postgres, s3), used, strict=True)
    ]
    after = _timed(infer)
    inference = [(first + second) / 2 for first, second in zip(before, after, strict=True)]
    return {
        "run": wall,
        "inference": inference[0],
        "inference_cpu": inference[1],
        "worker": own - inference[1],
        "decoders": family - own,
        "postgres": servers[0],
        "s3": servers[1],
    }


def _score(job: ScoringJob, prefix: str, stub: LoadedModel | None) -> ScoringRun:
    run, _ = job.begin(run_key=prefix, scans_uri=prefix)
    chunks = job.plan(run.scoring_run_id)
    source = ScanSource(store=job.store, pseudonym_key=job.settings.require("pseudonym_key").encode())
    for chunk in chunks:
        if stub is None:
            job.score(run.scoring_run_id, chunk)
        else:
            score_chunk(job.engine, load_run(job.engine, run.scoring_run_id), chunk, source=source, model=stub)
    balance = job.reconcile(run.scoring_run_id)
    assert balance.count_scored and not balance.count_rejected, balance
    return run


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Call ``work``, and return the wall time and the processor time of this process, in seconds."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def family_seconds(pid: int) -> float:
    """Return the processor time of a process and its children in seconds, including children that have ended."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def pid_of(service: Service) -> int:
    """Return the process ID of a running service."""
    process = service.process()
    assert process is not None
    return int(process.pid)


def _require(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


if __name__ == "__main__":
    main()
