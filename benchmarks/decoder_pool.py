"""Compare decoding in the decoder pool with decoding in threads of the worker.

::

    python -m benchmarks.decoder_pool                              # phantoms
    python -m benchmarks.decoder_pool FOLDER --graph model.xml     # files below FOLDER, also with inference

Eight threads request files, as in a scoring run. A round times decoding in threads, in the pool, and in threads again.
The second row of the table also predicts every 32 frames. It is like a scoring run without S3 and Postgres. The CPU
time is that of all processes, because other load on the machine changes it least.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import numpy as np
import psutil

from benchmarks.pairs import HEAD, Comparison
from braintumor.imaging.decoding.decode import decode
from braintumor.imaging.decoding.rejection import Rejection
from braintumor.imaging.decoding.types import Limits
from braintumor.imaging.model_input import PreparedFile, decode_file
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.imaging.sandbox.decoder_pool import DecoderPool
from braintumor.serving.backend import InferenceBackend, OpenVinoBackend

_SIZE = 224
_READERS = 8
_BATCH = 32
_ROUNDS = 5
_COUNT = 400

Read = Callable[[bytes], PreparedFile | Rejection]


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--graph", type=click.Path(exists=True, path_type=Path), help="An OpenVINO graph that predicts.")
@click.option("--count", default=_COUNT, help="Files a round.")
def main(folder: Path | None, graph: Path | None, count: int) -> None:
    """Print a table: files a second, by the pool and by threads."""
    files = _files(folder, count)
    started = time.perf_counter()
    pool = DecoderPool()
    pool.read(files[0], size=_SIZE)
    click.echo(f"{len(files)} files; the first child answered after {time.perf_counter() - started:.2f} s\n")
    ours: Read = partial(pool.read, size=_SIZE)
    theirs: Read = partial(decode_file, size=_SIZE, limits=Limits(), decode=decode)
    click.echo(HEAD)
    click.echo(_compare("decoding in the pool", "in threads", ours, theirs, files=files).row())
    if graph is not None:
        engine = OpenVinoBackend(graph)
        click.echo(_compare("the same, and inference", "in threads", ours, theirs, files=files, engine=engine).row())
    pool.close()


def _files(folder: Path | None, count: int = _COUNT) -> list[bytes]:
    with TemporaryDirectory(prefix="decoding-") as scratch:
        if folder is None:
            write_dataset(Path(scratch), per_class=count // 4, seed=2)
        paths = sorted((folder or Path(scratch)).rglob("*.*"))
        return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]


def _compare(
    ours_name: str,
    theirs_name: str,
    ours: Read,
    theirs: Read,
    *,
    files: list[bytes],
    engine: InferenceBackend | None = None,
) -> Comparison:
    """Compare the speeds of two ways to read files. Each name in the result has the median CPU time per file added.

    If there is an ``engine``, the frames are also predicted.
    """
    mine, other = [], []
    costs: tuple[list[float], list[float]] = ([], [])
    _work(ours, files, engine), _work(theirs, files, engine)  # warm-up
    for _ in range(_ROUNDS):
        before, our, after = (_work(read, files, engine) for read in (theirs, ours, theirs))
        mine.append(our.speed)
        other.append((before.speed + after.speed) / 2)
        costs[0].append(our.cost)
        costs[1].append((before.cost + after.cost) / 2)
    named = [
        f"{name}, {median(cost):.1f} ms of CPU" for name, cost in zip((ours_name, theirs_name), costs, strict=True)
    ]
    return Comparison(ours_name=named[0], theirs_name=named[1], ours=mine, theirs=other)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Hold the ``speed`` in files per second, and the ``cost`` in CPU milliseconds per file.

    The cost is that of this process and its children.
    """

    speed: float
    cost: float


def _work(read: Read, files: list[bytes], engine: InferenceBackend | None) -> _Work:
    """Read all files with ``read``, predict them if there is an ``engine``, and return speed and cost."""
    started, used = time.perf_counter(), _cpu_seconds()
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(read, files)
        while step := list(islice(found, _BATCH)):
            if engine is not None:
                engine.submit(np.concatenate([each.scan.pixels for each in step if isinstance(each, PreparedFile)]))()
    seconds = time.perf_counter() - started
    return _Work(speed=len(files) / seconds, cost=(_cpu_seconds() - used) * 1000 / len(files))


def _cpu_seconds() -> float:
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children()))


if __name__ == "__main__":
    main()
