"""Connect to Postgres: engine, transactions, advisory locks, COPY, and translation of Postgres' errors."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import URL, make_url

from braintumor.config.settings import Settings
from braintumor.errors import ConfigurationError, DatabaseError, DatabaseUnreachableError

SCHEMA = "braintumor"


def sql_folder() -> Path:
    """Return the folder of the SQL files: inside the installed package, or next to the package in a clone."""
    package = Path(__file__).parents[1]
    return package / "sql" if (package / "sql").is_dir() else package.parent / "sql"


def connect(settings: Settings, *, statement_seconds: int | None = None) -> Engine:
    """Return a SQLAlchemy engine for the database of the settings. It connects at its first use.

    Raises ``ConfigurationError`` if ``database_url`` is not a URL of Postgres.

    Connections search the schema ``braintumor`` and use the time zone UTC. A pooled connection is tested before use,
    because the server may have restarted. ``statement_seconds`` limits each statement and each idle transaction.
    ``None`` sets no limit.
    """
    url = _url(settings.require("database_url"))
    engine = create_engine(url, connect_args={"connect_timeout": 10}, hide_parameters=True, pool_pre_ping=True)
    limit = f"{statement_seconds or 0}s"
    limits = f"set statement_timeout = '{limit}'; set idle_in_transaction_session_timeout = '{limit}'"

    @event.listens_for(engine, "connect")
    def set_session(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"set search_path = {SCHEMA}; set time zone 'utc'")
            if statement_seconds is not None:
                cursor.execute(limits)
        connection.commit()

    return engine


_NAMES = "BRAINTUMOR_DATABASE_URL, or the role's own variable or Airflow connection,"


def _url(setting: str) -> URL:
    try:
        url = make_url(setting)
    except (exc.ArgumentError, ValueError):  # the driver's message can contain part of the password
        url = None
    if url is None or "@" in (url.host or ""):  # an `@` in the password splits it
        raise ConfigurationError(
            f"{_NAMES} is not a URL. It looks like postgresql://user:password@host:5432/database; in the "
            "password, write @ as %40, / as %2F and : as %3A."
        )
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"{_NAMES} must be a URL of Postgres. Received a URL of {url.get_backend_name()!r}.")
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run the ``with`` block in one transaction, which an exception of the block rolls back.

    Postgres' own error is not chained, because its details quote rows, and a row can have an object key.

    Raises:
        DatabaseUnreachableError: The server is unreachable, or the connection broke.
        DatabaseError: Postgres refused a statement.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except exc.DBAPIError as error:
        raise _translated(error.orig) from None
    except psycopg2.Error as error:  # `copy_rows` and `run_script` bypass SQLAlchemy
        raise _translated(error) from None


def advisory_lock(connection: Connection, name: str, *, is_shared: bool = False) -> None:
    """Take the advisory lock ``name`` until the end of the transaction. Wait while another transaction has the lock.

    A shared lock waits only for an exclusive lock. Advisory locks need no rights on tables, unlike table locks.
    """
    lock = "pg_advisory_xact_lock_shared" if is_shared else "pg_advisory_xact_lock"
    connection.execute(text(f"select {lock}(hashtextextended(:name, 0))"), {"name": f"{SCHEMA} {name}"})


def try_advisory_lock(connection: Connection, name: str) -> bool:
    """Try to take the advisory lock ``name`` exclusively without waiting, and return whether it was taken."""
    statement = text("select pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(connection.scalar(statement, {"name": f"{SCHEMA} {name}"}))


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert rows into ``table`` with COPY, which is faster than INSERT. ``None`` becomes null."""
    statement = f"copy {table} ({', '.join(columns)}) from stdin with (format csv, null '\\N')"
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(statement, _Lines(rows))


def _field(value: object) -> str:
    r"""Return a value as a CSV field: ``\N`` for null, otherwise quoted, because a bare ``\N`` is null."""
    return r"\N" if value is None else '"' + str(value).replace('"', '""') + '"'


class _Lines(io.TextIOBase):
    """Present rows as a CSV file. The file is generated while Postgres reads it, so few rows are in memory."""

    _ROWS_PER_PIECE = 500

    def __init__(self, rows: Iterable[Sequence[object]]) -> None:
        self._rows = iter(rows)
        self._buffer = io.StringIO()

    def read(self, size: int | None = -1) -> str:
        """Return at most ``size`` characters, and an empty string at the end of the file."""
        piece = self._buffer.read(size)
        if not piece:
            self._buffer = io.StringIO()
            self._buffer.writelines(
                ",".join(map(_field, row)) + "\n" for row in islice(self._rows, self._ROWS_PER_PIECE)
            )
            self._buffer.seek(0)
            piece = self._buffer.read(size)
        return piece


def run_script(connection: Connection, sql: str) -> None:
    """Run a script of several SQL statements. A script has no parameters, so a ``%`` in it is literal."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(sql)


_UNREACHABLE = ("08", "28", "3D", "57P")
"""SQLSTATE classes of a failed connection, a refused login, a missing database, and a stopping or starting server."""


_SERVER = re.compile(
    r"""connection[ ]to[ ]server[ ](?:at|on)[ ].*?[ ]failed:[ ]
    | host(?:[ ]name)?[ ]"[^"]*"
    | (?<=certificate[ ]for[ ])"[^"]*"
    | \b\d{1,3}(?:\.\d{1,3}){3}\b""",
    re.VERBOSE,
)
"""Pattern of the parts of libpq's messages that name a server or a client."""


def _without_server(message: str) -> str:
    """Return a message without the server's address, because pages and task logs show messages to many people."""
    return _SERVER.sub(lambda match: "" if match[0].startswith("connection") else "the host", message)


def _translated(error: BaseException | None) -> DatabaseError:
    first_line = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")  # later lines can quote a row
    first_line = _without_server(first_line)
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        if not (error.pgcode or _UNREACHABLE[0]).startswith(_UNREACHABLE):
            return DatabaseUnreachableError(
                f"Postgres could not do it now: {first_line}. A retry may succeed. Check its disk, memory and locks."
            )
        return DatabaseUnreachableError(
            f"No usable connection to Postgres: {first_line}. Check that it runs and that BRAINTUMOR_DATABASE_URL or "
            "the Airflow connection braintumor_db_<role> names it."
        )
    hint = " Run `braintumor migrate` first." if "does not exist" in first_line else ""
    sqlstate = getattr(error, "pgcode", None)
    return DatabaseError(f"Postgres refused: {first_line}.{hint}", sqlstate=sqlstate)
