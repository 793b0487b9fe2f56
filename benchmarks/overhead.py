"""Measure the processor milliseconds per file that a scoring run spends outside inference.

::

    python -m benchmarks.overhead compare
    python -m benchmarks.overhead compare --against FOLDER     # alternate with another checkout of the project

A run lists, reads from S3, decodes, predicts and writes to Postgres. Each round times inference alone on the same
frames, the run, and inference alone again. The result has two definitions, because other load on the machine changes
the first one:

- by wall time: 2 cores x (wall time of the run - wall time of inference alone), without the processor time of S3
- by processor time: of the worker, less inference alone, of the decoder processes, and of Postgres
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

import click
import numpy as np
import psutil

from benchmarks.world import SIZE, World, to_mr_object, world
from braintumor.config.settings import Settings
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.types import Decoded
from braintumor.imaging.letterbox import letterbox
from braintumor.registry import model_versions
from braintumor.scoring.job import ScoringJob
from braintumor.scoring.run import ScoringRun
from braintumor.serving.artifact import GRAPH
from braintumor.serving.backend import OpenVinoBackend
from devstack.service import Service

_ROUNDS = 7
_COUNT = 200


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds per file: wall time of the run and of inference alone, then processor time."""

    run: float
    inference: float
    worker: float
    decoders: float
    postgres: float
    s3: float

    @property
    def by_processor_time(self) -> float:
        """Return the processor time outside inference of all processes but S3."""
        return self.worker + self.decoders + self.postgres

    @property
    def by_wall_time(self) -> float:
        """Return the time of all cores outside inference, less the processor time of S3."""
        return (os.cpu_count() or 1) * (self.run - self.inference) - self.s3


HEAD = """| files | model | code | ms (least to most) | worker | decoders | Postgres | by wall time | files/s |
|---|---|---|---|---:|---:|---:|---:|---:|"""


def row(kind: str, precision: str, code: str, costs: Sequence[Cost]) -> str:
    """Return one row of the table: medians of the rounds."""
    middle = {name: median(asdict(cost)[name] for cost in costs) for name in asdict(costs[0])}
    totals = [cost.by_processor_time for cost in costs]
    parts = " | ".join(f"{middle[name]:.1f}" for name in ("worker", "decoders", "postgres"))
    wall = median(cost.by_wall_time for cost in costs)
    spread = f"{median(totals):.1f} ({min(totals):.1f} to {max(totals):.1f})"
    return f"| {kind} | {precision} | {code} | {spread} | {parts} | {wall:.1f} | {1000 / middle['run']:.1f} |"


@click.group()
def main() -> None:
    """Compare runs with inference alone, or run one of the workers."""


@main.command()
@click.option("--count", default=_COUNT, show_default=True, help="Files per run.")
@click.option("--rounds", default=_ROUNDS, show_default=True)
@click.option("--kinds", default="jpeg,dicom", show_default=True, help="Formats of the files.")
@click.option("--precisions", default="fp32,int8", show_default=True, help="Precisions of ResNet50.")
@click.option("--against", type=click.Path(exists=True, path_type=Path), multiple=True, help="Other checkouts.")
def compare(count: int, rounds: int, kinds: str, precisions: str, against: tuple[Path, ...]) -> None:
    """Print a table of processor milliseconds per file outside inference."""
    click.echo(HEAD)
    checkouts = {"this": Path(__file__).parents[1], **{folder.name: folder for folder in against}}
    with world("resnet50", count, in_8_bits="int8" in precisions) as made:
        for precision in precisions.split(","):
            made.promote(made.models[precision])
            for kind in kinds.split(","):
                given = replace(made, files=_files(made.files, kind))
                with ExitStack() as running:
                    workers = {name: running.enter_context(_worker(given, at)) for name, at in checkouts.items()}
                    costs: dict[str, list[Cost]] = {name: [] for name in workers}
                    for _ in range(rounds):
                        for name, measure in workers.items():
                            costs[name].append(measure())
                for name, measured in costs.items():
                    click.echo(row(kind, precision, name, measured))


def _files(jpegs: list[Path], kind: str) -> list[Path]:
    return jpegs if kind == "jpeg" else [to_mr_object(path) for path in jpegs]


@contextmanager
def _worker(made: World, checkout: Path) -> Iterator[Callable[[], Cost]]:
    """Start a worker process with the code of ``checkout``. Yield a function that measures a run."""
    servers = [str(pid_of(service)) for service in (made.stack.postgres.service, made.stack.objects.service)]
    command = [sys.executable, "-P", __file__, "work", *servers, str(made.files[0].parent), made.files[0].suffix]
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
def work(postgres: int, s3: int, folder: Path, suffix: str) -> None:
    """Measure a run over each prefix that standard input names."""
    job = ScoringJob.open(Settings.from_environment())
    paths = sorted(folder.glob(f"*{suffix}"))
    decoded = [decode(path.read_bytes()) for path in paths]
    frames = np.stack([letterbox(each.frames[0].pixels, size=SIZE) for each in decoded if isinstance(each, Decoded)])
    assert len(frames) == len(paths)
    model = _score(job, sys.stdin.readline().strip()).model  # a warm-up, which also loads the model
    backend = OpenVinoBackend(model_versions.fetch_model(job.store, job.settings, model) / GRAPH)
    backend.run(frames)
    print("ready", flush=True)
    for line in sys.stdin:
        cost = _measured(job, line.strip(), lambda: backend.run(frames), postgres=postgres, s3=s3)
        print(json.dumps({name: value * 1000 / len(frames) for name, value in cost.items()}), flush=True)


def _measured(job: ScoringJob, prefix: str, infer: Callable[[], object], *, postgres: int, s3: int) -> dict[str, float]:
    """Return the seconds of one run, less inference alone before and after the run."""
    before = _timed(infer)
    used = [family_seconds(server) for server in (os.getpid(), postgres, s3)]
    wall, own = _timed(lambda: _score(job, prefix))
    family, *servers = [
        family_seconds(server) - earlier for server, earlier in zip((os.getpid(), postgres, s3), used, strict=True)
    ]
    after = _timed(infer)
    inference = [(first + second) / 2 for first, second in zip(before, after, strict=True)]
    return {
        "run": wall,
        "inference": inference[0],
        "worker": own - inference[1],
        "decoders": family - own,
        "postgres": servers[0],
        "s3": servers[1],
    }


def _score(job: ScoringJob, prefix: str) -> ScoringRun:
    run, _ = job.begin(run_key=prefix, scans_uri=prefix)
    for chunk in job.plan(run.scoring_run_id):
        job.score(run.scoring_run_id, chunk)
    job.reconcile(run.scoring_run_id)
    return run


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the processor time of this process, in seconds."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - own


def family_seconds(pid: int) -> float:
    """Return the processor time of a process and its children, those that ended included."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


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
