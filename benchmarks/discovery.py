"""Compare the discovery of new scans among a million S3 keys with only listing the keys.

::

    python -m benchmarks.discovery --count 1000000

Both use the same S3 client. A listing server on this machine gives the keys, on the same cores as Postgres. In a first
run, every key is new. In a second run, no key is new. The listing alone is measured before and after these runs. Each
measurement is its own process, because peak memory is measured per process. On a shared machine, compare CPU seconds.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import click
import psutil
from sqlalchemy import Engine, text

from benchmarks.listing_server import listing_server
from braintumor.config.settings import Settings
from braintumor.db import database, migrations
from braintumor.s3 import ObjectStore
from braintumor.scoring.discovery import discover
from braintumor.scoring.prefixes import ScanPrefixes
from braintumor.scoring.run import open_run
from braintumor.serving.backend import BackendName
from devstack.stack import Stack

_NOTHING = "listing alone"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The wall seconds of one process, its CPU seconds including those of Postgres, and its peak memory."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@click.group(invoke_without_command=True)
@click.option("--count", default=1_000_000, show_default=True, help="Keys.")
@click.pass_context
def main(context: click.Context, count: int) -> None:
    """Print a table of discovery compared with paging the listing alone."""
    if context.invoked_subcommand:
        return
    measured = []
    for name, found in measure_each(count):
        click.echo(f"{name}: {found}", err=True)
        measured.append((name, found))
    alone = [found for name, found in measured if name == _NOTHING]
    seconds, cpu = fmean(found.seconds for found in alone), fmean(found.cpu_seconds for found in alone)
    click.echo("| what | keys | seconds | of the listing alone | CPU seconds | of the listing alone | peak MiB |")
    click.echo("|---|---:|---:|---:|---:|---:|---:|")
    for name, found in measured:
        click.echo(
            f"| {name} | {count:,} | {found.seconds:.1f} | {found.seconds / seconds:.2f} | {found.cpu_seconds:.1f} "
            f"| {found.cpu_seconds / cpu:.2f} | {found.peak_mib:.0f} |"
        )


def measure_each(count: int) -> Iterator[tuple[str, Measurement]]:
    """Yield (name, result) of each measurement: listing, discovery of ``count`` new keys, of no new key, and listing.

    The measurements run one after the other in a new database.
    """
    with (
        TemporaryDirectory(prefix="discovery-") as scratch,
        Stack(Path(scratch) / "stack", airflow=False) as stack,
        listing_server(count) as address,
    ):
        environment = {**stack.library_env(), "BRAINTUMOR_S3_ENDPOINT": address}
        engine = database.connect(Settings.from_environment(environment))
        migrations.migrate(engine)
        pretend_champion(engine)
        engine.dispose()
        for name in (_NOTHING, "first night", "second night", _NOTHING):
            yield name, measure_apart(environment, "" if name == _NOTHING else name)


def pretend_champion(engine: Engine) -> None:
    """Create a champion without files. Discovery records it as the model of the run, and never loads it."""
    with database.transaction(engine) as connection:
        database.run_script(connection, _CHAMPION)


def measure(settings: Settings, run_key: str) -> Measurement:
    """Measure the discovery of a scoring run ``run_key`` in this process. An empty ``run_key`` only lists the keys."""
    store, scans = ObjectStore.connect(settings), ScanPrefixes.parse(settings.require("scans_uri"))
    engine = database.connect(settings)
    run = open_run(engine, run_key=run_key, scans=scans, backend=BackendName.OPENVINO) if run_key else None
    before = time.process_time()
    started = time.perf_counter()
    if run is None:
        for prefix in scans:
            for _ in store.list(prefix):
                pass
    else:
        print(discover(engine, store, run), file=sys.stderr)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Measurement(
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime - before + _postgres_seconds(engine),
        peak_mib=used.ru_maxrss / 1024,
    )


def _postgres_seconds(engine: Engine) -> float:
    """Return the CPU seconds of the server process of the engine's one connection."""
    with engine.connect() as connection:
        times = psutil.Process(connection.scalar(text("select pg_backend_pid()"))).cpu_times()
    return times.user + times.system


@main.command(hidden=True)
@click.argument("run_key")
def one(run_key: str) -> None:
    """Measure once and print it."""
    print(json.dumps(vars(measure(Settings.from_environment(), run_key))))


def measure_apart(environment: dict[str, str], run_key: str) -> Measurement:
    """Call ``measure`` in a new process, with the settings of ``environment``."""
    command = [sys.executable, "-m", "benchmarks.discovery", "one", run_key]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return Measurement(**json.loads(done.stdout))


_CHAMPION = """
    insert into snapshot values ('s', 's3://b/', 1, 0, '[]');
    insert into training_run (run_key, recipe_name, recipe, snapshot_id, initialization, history, code_version,
                              library_versions, device, seconds)
    values ('r', 'none', '{}', 's', 'none', '{}', '0', '{}', 'cpu', 1);
    insert into model_version (model_name, training_run_id, backbone, precision, image_size, preprocessing,
        count_parameter, artifact_uri, artifact_sha256s, temperature)
    select 'none', training_run_id, 'none', 'fp32', 64, 'p', 1, 's3://b/m/', '{}', 1 from training_run;
    insert into promotion (request_key, action, model_version_id, is_override, actor, reason)
    select 'b', 'promote', model_version_id, true, 'benchmark', 'nothing is scored' from model_version;"""


if __name__ == "__main__":
    main()
