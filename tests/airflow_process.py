"""Call functions in a process that has imported Airflow, because the import takes more than two seconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from braintumor.config.variables import PREFIX

PROJECT = Path(__file__).parent.parent
_FORK = multiprocessing.get_context("fork")
_TIMEOUT_S = 120

T = TypeVar("T")


def airflow_environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that imports Airflow and the DAG files. It has no database."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "dags")]),  # as a DAG bundle does
    }


@dataclass(frozen=True)
class AirflowProcess:
    """Call functions in forks of a process that has imported Airflow, and none of the project's DAG files.

    The functions are at the top level of a module that imports Airflow and the DAG files only inside of functions.
    """

    pool: ProcessPoolExecutor
    environment: dict[str, str]

    def call(self, function: Callable[..., T], *arguments: object, **settings: str) -> T:
        """Call a function in a new fork with the given settings, and return its value."""
        return self.call_with_log(function, *arguments, **settings)[0]

    def call_with_log(self, function: Callable[..., T], *arguments: object, **settings: str) -> tuple[T, str]:
        """Call a function as ``call`` does, and return its value and the text that it wrote to both streams."""
        value, log, error = self.pool.submit(_in_fork, {**self.environment, **settings}, function, *arguments).result()
        print(log)
        assert not error, error
        return value, log


@contextmanager
def airflow_process(home: Path) -> Iterator[AirflowProcess]:
    """Provide a process that imports Airflow before its first call."""
    environment = airflow_environment(home)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_import_airflow, initargs=(environment,)) as pool:
        yield AirflowProcess(pool, environment)


def _import_airflow(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    import_module("airflow.dag_processing.dagbag")


def _in_fork(environment: dict[str, str], *call: object) -> tuple[Any, str, str]:
    """Return the value, the log and the error of a call in a new fork of this process."""
    receiver, sender = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_send_result, args=(sender, environment, *call))
    child.start()
    sender.close()
    value, log, error = None, "", f"the process ended during the function, or it took more than {_TIMEOUT_S} s"
    with suppress(EOFError):
        if receiver.poll(_TIMEOUT_S):
            value, log, error = receiver.recv()
            child.join(_TIMEOUT_S)
    is_ended = child.exitcode == 0
    child.kill()
    child.join()
    return value, log, error or ("" if is_ended else "the process did not end after the function")


def _send_result(
    sender: Connection, environment: dict[str, str], function: Callable[..., Any], *arguments: Any
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    value, error = None, ""
    with tempfile.TemporaryFile("w+") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        try:
            value = function(*arguments)
        except BaseException:  # also SystemExit
            error = traceback.format_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        log.seek(0)
        sender.send((value, log.read(), error))
