"""Measure the processor time that the start of one scoring task costs, with a running Airflow scheduler.

::

    python -m benchmarks.task_start

The DAG scores the same number of files in one chunk and in many chunks of 4 files. Inference computes 4 frames at once,
so it costs the same in both. The difference per chunk is the cost of a task. It includes Airflow's scheduler,
supervisor and API server, the imports, the model, the decoder processes, and Postgres.
"""

from __future__ import annotations

import time
from statistics import median

import click

from benchmarks.overhead import family_seconds, pid_of
from benchmarks.scoring_stack import ScoringStack, scoring_stack
from braintumor.scoring.chunks import CHUNK_SIZE

_ROUNDS = 3
_CHUNKS = 10
_PER_CHUNK = 4
_IDLE_SECONDS = 20.0
_PATIENCE_S = 900.0


@click.command()
@click.option("--rounds", default=_ROUNDS, show_default=True)
@click.option("--chunks", default=_CHUNKS, show_default=True, help="Tasks of a run with many tasks.")
def main(rounds: int, chunks: int) -> None:
    """Print the processor seconds of one task start, and the milliseconds per file with full chunks."""
    with scoring_stack("resnet50", chunks * _PER_CHUNK, airflow=True) as made:
        made.promote(made.models["fp32"])
        client = made.stack.client()
        client.wait_for_dag("nightly_scoring")
        client.unpause("nightly_scoring")
        _seconds(made, 1)  # a warm-up
        idle = _idle_rate(made)
        starts = []
        for _ in range(rounds):
            one, many = _seconds(made, 1, idle), _seconds(made, chunks, idle)
            starts.append((many - one) / (chunks - 1))
    click.echo(f"idle services: {idle * 1000:.0f} ms of processor time per second, subtracted")
    spread = f"{min(starts):.2f} to {max(starts):.2f}"
    click.echo(f"start of a task: {median(starts):.2f} s of processor time ({spread})")
    click.echo(f"with {CHUNK_SIZE} scans per chunk: {median(starts) * 1000 / CHUNK_SIZE:.1f} ms per file")


def _seconds(made: ScoringStack, chunks: int, idle: float = 0.0) -> float:
    """Return the processor seconds of a DAG run that scores all files in ``chunks`` chunks.

    ``idle`` is the processor time of the idle services per second, which is subtracted.
    """
    prefix, client = made.write_files(), made.stack.client()
    started, used = time.monotonic(), _used(made)
    conf = {"scans_uri": str(prefix), "chunk_size": len(made.files) // chunks}
    run_id = client.trigger("nightly_scoring", conf)
    state = client.wait("nightly_scoring", run_id, timeout_s=_PATIENCE_S)
    assert state == "success", client.failure_logs("nightly_scoring", run_id)
    return _used(made) - used - idle * (time.monotonic() - started)


def _idle_rate(made: ScoringStack) -> float:
    """Return the processor seconds per second of the services while no DAG runs."""
    used = _used(made)
    time.sleep(_IDLE_SECONDS)
    return (_used(made) - used) / _IDLE_SECONDS


def _used(made: ScoringStack) -> float:
    services = [made.stack.postgres.service, *made.stack.airflow.services]
    return sum(family_seconds(pid_of(service)) for service in services)


if __name__ == "__main__":
    main()
