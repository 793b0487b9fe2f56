"""Compare the speed of two scoring workers of one thread each with the speed of one such worker.

::

    python -m benchmarks.workers compare

Workers are processes as Celery starts them, each on its own core. Before the measurement, each worker scores one chunk,
so that its model is loaded. The other chunks are assigned to the workers in turn. Postgres and S3 use the same cores. A
single worker leaves the other core to these servers, and this advantage is not subtracted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import IO

import click

from benchmarks.pairs import HEAD, Comparison
from benchmarks.scoring_stack import ScoringStack, scoring_stack
from braintumor.config.settings import Settings
from braintumor.scoring.job import ScoringJob

_ROUNDS = 3
_CHUNK_SIZE = 8
_AIM = 1.8


@click.group()
def main() -> None:
    """Compare two workers with one, or run one of these workers."""


@main.command()
@click.option("--count", type=int, default=12 * _CHUNK_SIZE, help="Files a run, a multiple of the chunk size.")
def compare(count: int) -> None:
    """Print the speed of two workers and of one. Each round times one, two and one again."""
    with scoring_stack("resnet50", count) as made:
        made.promote(made.models["fp32"])
        one, two = [], []
        for _ in range(_ROUNDS):
            before = _scoring_speed(made, workers=1)
            two.append(_scoring_speed(made, workers=2))
            one.append((before + _scoring_speed(made, workers=1)) / 2)
    click.echo(HEAD)
    name = f"two workers of one thread, ResNet50, {count} files (aim {_AIM})"
    click.echo(Comparison(ours_name=name, theirs_name="one of them", ours=two, theirs=one).row())


@main.command()
@click.argument("core", type=int)
@click.argument("run", type=int)
@click.argument("chunks", type=int, nargs=-1)
def work(core: int, run: int, chunks: tuple[int, ...]) -> None:
    """Run a worker on CORE: score the first of CHUNKS, wait for a line, score the others."""
    os.sched_setaffinity(0, {core})
    job = ScoringJob.open(Settings.from_environment())
    job.score(run, chunks[0])
    print("ready", flush=True)
    sys.stdin.readline()
    for chunk in chunks[1:]:
        job.score(run, chunk)


def _scoring_speed(made: ScoringStack, *, workers: int) -> float:
    """Return the files per second of all workers together, from the start signal to the end of the last worker."""
    opened, prefix = ScoringJob.open(made.settings), made.write_files()
    run, _ = opened.begin(run_key=str(prefix), scans_uri=str(prefix))
    chunks = [str(chunk) for chunk in opened.plan(run.scoring_run_id, chunk_size=_CHUNK_SIZE)]
    command = [sys.executable, "-m", "benchmarks.workers", "work"]
    with ExitStack() as running:  # if one fails, the others are ended too
        started = [
            running.enter_context(
                subprocess.Popen(
                    [*command, str(core), str(run.scoring_run_id), *chunks[core::workers]],
                    env={**os.environ, **made.settings.to_environment()},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for core in range(workers)
        ]
        for worker in started:
            if not _require(worker.stdout).readline():
                raise RuntimeError("A worker failed; its words are above.")
        began = time.perf_counter()
        for worker in started:
            print("go", file=_require(worker.stdin), flush=True)
        codes = [worker.wait() for worker in started]
        seconds = time.perf_counter() - began
    if any(codes):
        raise RuntimeError("A worker failed; its words are above.")
    balance = opened.reconcile(run.scoring_run_id)
    assert balance.count_scored == len(made.files), balance
    return (len(made.files) - workers * _CHUNK_SIZE) / seconds


def _require(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


if __name__ == "__main__":
    main()
