"""Provide Postgres and an S3 server per session, one small trained model, and a new database per test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import psycopg2
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from braintumor import cli
from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.config.variables import DEMO_DATASET, FORMER_NAMES, NO_SKIPS, PREFIX
from braintumor.dataset.images.local_folder import labeled_files, upload
from braintumor.db import database, migrations
from braintumor.imaging.phantom.slice import write_dataset
from braintumor.registry import model_versions, promotions
from braintumor.s3 import ObjectStore, S3Uri
from devstack.postgres import AIRFLOW_DATABASE
from devstack.stack import Stack
from tests.airflow_process import AirflowProcess, airflow_process
from tests.faulty_s3 import FaultyS3, faulty_s3
from tests.shared_state import download, dump, made_once, restore

TINY_RECIPE = Path(__file__).with_name("tiny.toml")
MEMORY = Path("/dev/shm")
ROOM = 3 * 1024**3
"""The bytes that must be free on disk and in memory. A session uses less than a third of them."""
NO_DATASET = "no BRAINTUMOR_DEMO_DATASET"
NO_CHART = "no Helm chart"
ONLY_A_DEVELOPER_HAS = (NO_DATASET, NO_CHART)
LONGEST = (
    "test_demo.py",
    "test_fine_tuning.py",
    "test_kills.py",
    "test_end_to_end.py",
    "test_workers.py",
    "test_browser.py",
    "test_notifications_live.py",
    "test_mutants.py",
    "test_promotion_kills.py",
    "test_compose_processes.py",
)
"""Files of `make soak` that take the most time, the longest first."""


Put = Callable[[str, bytes], None]
"""Type of the fixture ``put``."""


def forget_settings() -> None:
    """Delete the settings of the developer's shell, so that no command of a test reads or writes on those servers."""
    kept = {NO_SKIPS.name, DEMO_DATASET.name, FORMER_NAMES[DEMO_DATASET.name]}
    for name in os.environ.keys() - kept:
        if name.startswith((PREFIX, "AIRFLOW_")):
            del os.environ[name]


forget_settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files of tests. One worker begins with the model that most tests need, the other with files without it.

    The longest files of `make soak` come first, so that no worker waits for a long file at the end.
    """
    needing = {item.path for item in items if "seeded" in getattr(item, "fixturenames", ())}
    first = next((item.path for item in items if item.path in needing), None)
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (item.path != first, item.path in needing, rank.get(item.path.name, len(rank))))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Start Postgres and an S3 server for this session."""
    with state_folder() as folder, databases_in_memory(folder), Stack(folder, airflow=False) as running:
        yield running


@contextmanager
def state_folder() -> Iterator[Path]:
    """Create a folder for a stack. Postgres' own user cannot enter the temporary folders of pytest."""
    with tempfile.TemporaryDirectory(prefix="braintumor-tests-") as folder:
        yield Path(folder) / "stack"


@contextmanager
def databases_in_memory(folder: Path) -> Iterator[None]:
    """Store Postgres' data in memory if there is room. A database is then created in a tenth of the time."""
    if not MEMORY.is_dir() or min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) < ROOM:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="braintumor-tests-", dir=MEMORY) as reserved:
        Path(reserved).chmod(0o711)  # Postgres' own user passes through
        data = Path(reserved) / "postgres"
        data.mkdir()
        folder.mkdir()
        (folder / "postgres").symlink_to(data)
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 30 labeled phantoms per class."""

    def make(folder: Path) -> None:
        write_dataset(folder, per_class=30, seed=1)

    return made_once(tmp_path_factory, "phantoms", make)


@pytest.fixture(scope="session")
def seeded(stack: Stack, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Create a database with one trained, promoted model: the template of the databases of the tests."""
    cache = str(tmp_path_factory.mktemp("cache"))
    own, bucket = Settings.from_environment(stack.library_env()), S3Uri.parse("s3://braintumor/")

    def make(folder: Path) -> None:
        settings = replace(own, database_url=stack.postgres.create_database("seed"), cache_folder=cache)
        train_seed(settings, phantoms)
        dump(stack.postgres.url("seed"), folder / "database.dump")
        download(ObjectStore.connect(settings), bucket, folder / "bucket")

    seed = made_once(tmp_path_factory, "seed", make)
    settings = replace(own, database_url=stack.postgres.create_database("seeded"), cache_folder=cache)
    restore(seed / "database.dump", stack.postgres.url("seeded", owner="postgres"))
    ObjectStore.connect(settings).upload_folder(seed / "bucket", bucket)
    return settings


@pytest.fixture(scope="session")
def airflow_dump(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of ``dump`` with Airflow's tables, whose owner is Airflow's login."""

    def make(folder: Path) -> None:
        stack.airflow.prepare(stack.postgres, lambda _: None)
        dump(stack.postgres.url(AIRFLOW_DATABASE, owner=AIRFLOW_DATABASE), folder / "database.dump")

    return made_once(tmp_path_factory, "airflow_tables", make) / "database.dump"


@pytest.fixture(scope="session")
def in_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowProcess]:
    """Provide a process that has imported Airflow, for calls of functions."""
    with airflow_process(tmp_path_factory.mktemp("airflow")) as process:
        yield process


@pytest.fixture
def real_images() -> Path:
    """Return the developer's folder of labeled images, or skip the test."""
    folder = DEMO_DATASET.read()
    if not folder:
        pytest.skip(NO_DATASET)
    return Path(folder)


def train_seed(settings: Settings, images: Path) -> None:
    """Train the tests' model on a folder of images and promote it, in an empty database."""
    engine = database.connect(settings)
    migrations.migrate(engine)
    upload(ObjectStore.connect(settings), labeled_files(images), S3Uri.parse(settings.require("dataset_uri")))
    run_braintumor(settings, "train", "--recipe", str(TINY_RECIPE), "--run-key", "seed")
    model = model_versions.list_models(engine)[0]
    request = promotions.PromotionRequest(request_key="seed", actor="tests", reason="the tests' model")
    promotions.promote(engine, model, request, is_override=True)
    engine.dispose()


@pytest.fixture(scope="session")
def tiny_model_folder(seeded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Download the files of the trained model, as `predict --model FOLDER` reads them."""
    folder = tmp_path_factory.mktemp("model")
    engine, store = database.connect(seeded), ObjectStore.connect(seeded)
    model = model_versions.champion(engine)
    engine.dispose()
    for name in model.artifact_sha256s:
        (folder / name).write_bytes(store.read(S3Uri.parse(model.artifact_uri) / name))
    return folder


@pytest.fixture
def settings(stack: Stack, seeded: Settings) -> Iterator[Settings]:
    """Create a database with a champion, and an empty scans prefix, for one test."""
    with cloned(stack, "seeded") as url:
        yield replace(seeded, database_url=url, scans_uri=f"s3://braintumor/scans-{uuid.uuid4().hex}/")


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = database.connect(settings)
    yield made
    made.dispose()


@pytest.fixture
def s3_proxy(settings: Settings) -> Iterator[FaultyS3]:
    """Start a proxy of the S3 server that can inject faults."""
    with faulty_s3(settings.require("s3_endpoint")) as server:
        yield server


@pytest.fixture
def proxied(settings: Settings, s3_proxy: FaultyS3) -> Settings:
    """Return the settings of the same test, with the S3 server behind the proxy."""
    return replace(settings, s3_endpoint=s3_proxy.url)


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> str:
    """Return the name of a template database with the schema and no data."""
    engine = database.connect(Settings(database_url=stack.postgres.create_database("migrated")))
    migrations.migrate(engine)
    engine.dispose()
    return "migrated"


@pytest.fixture
def empty_settings(stack: Stack, migrated: str, tmp_path: Path) -> Iterator[Settings]:
    """Create a database with the schema and no data, and empty prefixes, for one test."""
    base = Settings.from_environment(stack.library_env())
    own = uuid.uuid4().hex
    with cloned(stack, migrated) as url:
        yield replace(
            base,
            database_url=url,
            cache_folder=str(tmp_path / "cache"),
            **{f"{name}_uri": f"s3://braintumor/{name}-{own}/" for name in ("dataset", "scans", "models", "weights")},
        )


def copy_champion(source: Settings, target: Settings, folder: Path) -> None:
    """Copy the files and the record of the tests' model to another, empty stack, and promote it there."""
    engine, store = database.connect(target), ObjectStore.connect(target)
    migrations.migrate(engine)
    with closing(psycopg2.connect(source.require("database_url"))) as connection, connection.cursor() as cursor:
        cursor.execute("select row_to_json(s) from braintumor.snapshot s")
        ((snapshot,),) = cursor.fetchall()
    with database.transaction(engine) as connection:
        connection.execute(
            text("insert into snapshot select * from json_populate_record(null::snapshot, cast(:row as json))"),
            {"row": json.dumps(snapshot)},
        )
    record = model_versions.TrainingRecord(
        run_key="seed",
        recipe={"version": 1},
        history={},
        code_version="tests",
        library_versions={},
        device="cpu",
        seconds=1,
    )
    model = model_versions.register(
        engine, store, folder=folder, training=record, models_uri=S3Uri.parse(target.require("models_uri"))
    )
    request = promotions.PromotionRequest(request_key="seed", actor="tests", reason="the tests' model")
    promotions.promote(engine, model, request, is_override=True)
    engine.dispose()


@contextmanager
def cloned(stack: Stack, template: str) -> Iterator[str]:
    """Copy a database, yield the URL of the copy, and drop it at the end."""
    name = f"test_{uuid.uuid4().hex}"

    def run(statement: str) -> None:
        with closing(psycopg2.connect(stack.postgres.url("postgres", owner="postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    run(f'create database {name} template "{template}" owner braintumor')
    try:
        yield stack.postgres.url(name)
    finally:
        run(f"drop database {name} with (force)")


def as_role(stack: Stack, settings: Settings, role: Role) -> Settings:
    """Return the settings with the login that has only this role."""
    name = database.connect(settings).url.database
    return replace(settings, database_url=stack.postgres.url_as(role, str(name)))


@contextmanager
def copied(stack: Stack, prepared: Settings) -> Iterator[Settings]:
    """Copy a database that was prepared once for many tests. First, end all connections to it."""
    name = database.connect(prepared).url.database
    url = stack.postgres.url("postgres", owner="postgres")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
    with cloned(stack, str(name)) as url:
        yield replace(prepared, database_url=url)


def run_braintumor(settings: Settings, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command in a subprocess, as a person does."""
    environment = {**os.environ, **settings.to_environment()}
    command = [sys.executable, "-m", "braintumor", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done


class Program:
    """Run the program ``braintumor`` in click's runner, with the exit codes and messages of its errors."""

    name = "braintumor"

    def main(self, args: Sequence[str], prog_name: str) -> None:
        with patch.object(cli, "command", partial(cli.command, args, prog_name)):
            cli.main()


def invoke(settings: Settings, *arguments: str, answer: str | None = None) -> Result:
    """Run the command in this process. ``answer`` is the text that a person types."""
    program: Any = Program()
    return CliRunner().invoke(program, arguments, input=answer, env=settings.to_environment())


def printed(settings: Settings, *arguments: str) -> str:
    """Run the command in this process, check that it succeeds, and return its output."""
    done = invoke(settings, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def put(settings: Settings) -> Put:
    """Return a function that writes an object below the scans prefix."""
    store = ObjectStore.connect(settings)
    prefix = S3Uri.parse(settings.require("scans_uri"))

    def write(name: str, data: bytes) -> None:
        store.write(prefix / name, data)

    return write


_skips: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record skipped tests, except those that need data that only a developer has."""
    if report.skipped and not any(data in str(report.longrepr) for data in ONLY_A_DEVELOPER_HAS):
        _skips.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session after a skip if the environment forbids skips, as CI does."""
    if _skips and NO_SKIPS.read():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("skipped, which is not allowed here:", *_skips, sep="\n  ")
