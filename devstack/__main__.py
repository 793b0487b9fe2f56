"""Start, stop and inspect the development stack: ``python -m devstack``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.config.variables import RECIPES
from braintumor.db import database, migrations
from braintumor.errors import BrainTumorError
from braintumor.s3 import ObjectStore, S3Uri
from devstack import envfile
from devstack.demo import SMALL_RECIPES, run_demo
from devstack.errors import StackError
from devstack.objectserver import external_endpoint
from devstack.postgres import program
from devstack.stack import Stack
from devstack.state import DEFAULT_FOLDER, PROJECT, State, loopback_environment

PROJECT_DAGS = ("nightly_scoring", "weekly_retrain", "reviewed_labels")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options, rest = command_line().parse_known_args(arguments)
    if rest and options.command != "psql":
        command_line().error(f"unknown arguments: {' '.join(rest)}")
    os.environ.update(loopback_environment())
    try:
        return int(options.run(options, rest))
    except BrainTumorError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1


def up(options: argparse.Namespace, _rest: list[str]) -> int:
    """Start Postgres, the S3 server and Airflow, and leave them running. The DAGs run on their schedules."""
    began = time.monotonic()
    stack = _stack(options).up()
    engine = database.connect(Settings.from_environment(stack.library_env()))
    migrations.migrate(engine)
    engine.dispose()
    if options.airflow:
        for dag_id in PROJECT_DAGS if options.dags_folder == PROJECT / "dags" else ():
            stack.client().wait_for_dag(dag_id)
            stack.client().unpause(dag_id)
    print(f"Up in {time.monotonic() - began:.0f} s. To stop: make down")
    if options.airflow:
        secrets = stack.state.secrets
        print(f"Airflow: {stack.airflow.url}")
        print(f"Review page: {stack.airflow.url}/braintumor/review/   Reports: {stack.airflow.url}/braintumor/reports/")
        print(f"  admin     / {secrets.admin_password}")
        print(f"  reviewer  / {secrets.reviewer_password}")
        print(f"  reviewer2 / {secrets.reviewer2_password}")
        print(f"  viewer    / {secrets.viewer_password}")
    print('The library\'s settings for this shell: eval "$(.venv/bin/python -m devstack env)"')
    return 0


def down(options: argparse.Namespace, _rest: list[str]) -> int:
    """Stop Postgres, the S3 server and Airflow. The stored data remain."""
    _stack(options).down()
    return 0


def status(options: argparse.Namespace, _rest: list[str]) -> int:
    """Show each service; exit code 1 if one is not running."""
    services = _stack(options).status()
    for service in services:
        print(f"{service.name:14} {service.pid or 'stopped':>8} {service.memory_mb:6} MB  {service.log}")
    return 0 if all(service.pid for service in services) else 1


def psql(options: argparse.Namespace, rest: list[str]) -> int:
    """Become psql, with a connection as the analyst. With --owner as the first argument, connect as the owner."""
    state = State(options.state_dir)
    postgres = _stack(options).postgres
    if rest[:1] == ["--owner"]:
        rest, url, password = rest[1:], postgres.url(), state.secrets.library_database_password
    else:
        url, password = postgres.url_as(Role.ANALYST), state.secrets.analyst_database_password
    url = url.replace(f":{password}@", "@")
    os.execve(program("psql"), ["psql", url, *rest], {**os.environ, "PGPASSWORD": password})


def env(options: argparse.Namespace, _rest: list[str]) -> int:
    """Print lines for a shell: the library's settings, and a PATH with ``braintumor`` and this Postgres' programs."""
    folders = f"{Path(sys.executable).parent}:{Path(program('psql')).parent}"
    print(f'export PATH={shlex.quote(folders)}:"$PATH"')
    for name, value in _stack(options).library_env().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def put(options: argparse.Namespace, _rest: list[str]) -> int:
    """Upload the files of a folder to the prefix of new scans."""
    if not any(path.is_file() for path in options.folder.rglob("*")):
        raise StackError(f"{options.folder} is not a folder with files. Give a folder. Its files are uploaded.")
    settings = Settings.from_environment(_stack(options).library_env())
    prefix = S3Uri.parse(settings.require("scans_uri"))
    written = ObjectStore.connect(settings).upload_folder(options.folder, prefix)
    print(f"{len(written)} files in {prefix}. The next nightly run scores them, or now: braintumor score {prefix}")
    return 0


def demo(options: argparse.Namespace, _rest: list[str]) -> int:
    """Retrain, promote, score and query; then stop the services that the demo started."""
    run_demo(_stack(options))
    return 0


def secrets(options: argparse.Namespace, _rest: list[str]) -> int:
    """Write the .env of docker-compose.yaml with random passwords and keys; an existing file stays."""
    envfile.write(options.file)
    print(f"Wrote {options.file}, which only its owner can read. Keep a copy of it where you keep passwords.")
    return 0


def _stack(options: argparse.Namespace) -> Stack:
    external = external_endpoint(os.environ, State(options.state_dir))
    return Stack(
        options.state_dir,
        airflow=options.airflow,
        dags_folder=options.dags_folder,
        extra_env={RECIPES.name: RECIPES.given() or ",".join(SMALL_RECIPES)},
        triggerer=options.command != "demo",
        external_s3=external,
        progress=print,
    )


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=DEFAULT_FOLDER, help="default: %(default)s")
    parser.add_argument("--dags-folder", type=Path, default=PROJECT / "dags", help="default: %(default)s")
    parser.add_argument(
        "--no-airflow", dest="airflow", action="store_false", help="only Postgres and the object server"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for run in (up, down, status, psql, env, put, demo, secrets):
        command = commands.add_parser(run.__name__, help=run.__doc__, add_help=run is not psql)
        command.set_defaults(run=run)
    commands.choices["put"].add_argument("folder", type=Path)
    commands.choices["secrets"].add_argument(
        "file", nargs="?", type=Path, default=PROJECT / ".env", help="default: %(default)s"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
