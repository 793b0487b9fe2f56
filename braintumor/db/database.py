"""The one way to Postgres: an engine from the settings, errors in our words, and COPY for rows in bulk."""

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
    """Where the SQL files are: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return package / "sql" if (package / "sql").is_dir() else package.parent / "sql"


def connect(settings: Settings, *, statement_seconds: int | None = None) -> Engine:
    """Return an engine whose connections find the schema ``braintumor`` first. Nothing is sent yet.

    A pooled connection is tried before use, because the server may have restarted. With ``statement_seconds`` Postgres
    ends a statement after that time, and a transaction that is idle for as long.
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


def _url(written: str) -> URL:
    try:
        url = make_url(written)
    except (exc.ArgumentError, ValueError):  # whose words may be a part of the password
        url = None
    if url is None or "@" in (url.host or ""):  # an `@` within the password divides it
        raise ConfigurationError(
            "BRAINTUMOR_DATABASE_URL is not a URL. It looks like postgresql://user:password@host:5432/database; in the "
            "password, write @ as %40, / as %2F and : as %3A."
        )
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"Predictions go to Postgres. Received a URL of {url.get_backend_name()!r}.")
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: all of it or nothing.

    Postgres' own error is not chained: its details quote rows, and a row can hold an object key.

    Raises:
        DatabaseUnreachableError: nobody answers at the address, or the connection broke.
        DatabaseError: Postgres refused a statement.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except exc.DBAPIError as error:
        raise _translated(engine, error.orig) from None
    except psycopg2.Error as error:  # of `copy_rows` and `run_script`, which SQLAlchemy does not see
        raise _translated(engine, error) from None


def advisory_lock(connection: Connection, name: str, *, is_shared: bool = False) -> None:
    """Hold the turn called ``name`` until the transaction's end; whoever else asks for it waits.

    Not a table's lock: that would need rights over the table that tasks do not have. A shared turn waits only for one
    that is not shared.
    """
    lock = "pg_advisory_xact_lock_shared" if is_shared else "pg_advisory_xact_lock"
    connection.execute(text(f"select {lock}(hashtextextended(:name, 0))"), {"name": f"{SCHEMA} {name}"})


def try_turn(connection: Connection, name: str) -> bool:
    """Take the turn called ``name`` until the transaction's end, or return False where somebody holds it."""
    statement = text("select pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
    return bool(connection.scalar(statement, {"name": f"{SCHEMA} {name}"}))


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Stream rows into a table with COPY, the fastest way in; ``None`` is null."""
    statement = f"copy {table} ({', '.join(columns)}) from stdin with (format csv, null '\\N')"
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(statement, _Lines(rows))


def _field(value: object) -> str:
    r"""Write one field of CSV. Every value is in quotes, so that the text ``\N`` is not read as null."""
    return r"\N" if value is None else '"' + str(value).replace('"', '""') + '"'


class _Lines(io.TextIOBase):
    """Rows as a file of CSV, written while Postgres reads: neither waits for the other, and few are held at a time."""

    _PIECE = 500

    def __init__(self, rows: Iterable[Sequence[object]]) -> None:
        self._rows = iter(rows)
        self._buffer = io.StringIO()

    def read(self, size: int | None = -1) -> str:
        """Up to ``size`` characters; none at the end."""
        found = self._buffer.read(size)
        if not found:
            self._buffer = io.StringIO()
            self._buffer.writelines(",".join(map(_field, row)) + "\n" for row in islice(self._rows, self._PIECE))
            self._buffer.seek(0)
            found = self._buffer.read(size)
        return found


def run_script(connection: Connection, sql: str) -> None:
    """Run a file of several statements as it is: no parameters, so a ``%`` means itself."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(sql)


_AWAY = ("08", "28", "3D", "57P")
"""Classes of SQLSTATE: no connection, or none for this login, or no such database, or a server that stops or starts."""


_SERVER = re.compile(
    r"""connection[ ]to[ ]server[ ](?:at|on)[ ].*?[ ]failed:[ ]
    | host(?:[ ]name)?[ ]"[^"]*"
    | \b\d{1,3}(?:\.\d{1,3}){3}\b""",
    re.VERBOSE,
)
"""Where libpq names a server or a client in its messages."""


def _without_server(engine: Engine, message: str) -> str:
    """Remove the server's address from a message, because pages and task logs show it to people without any need."""
    hidden = _SERVER.sub(lambda found: "" if found[0].startswith("connection") else "the host", message)
    hosts = [
        engine.url.host,
        *engine.url.normalized_query.get("host", ()),
        *engine.url.normalized_query.get("hostaddr", ()),
    ]
    for host in filter(None, hosts):
        hidden = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "the host", hidden)
    return hidden


def _translated(engine: Engine, error: BaseException | None) -> DatabaseError:
    first_line = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")  # what follows may quote a row
    first_line = _without_server(engine, first_line)
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        if not (error.pgcode or _AWAY[0]).startswith(_AWAY):
            return DatabaseUnreachableError(
                f"Postgres could not do it now: {first_line}. It may the next time: look at its disk, memory and locks."
            )
        return DatabaseUnreachableError(
            f"No usable connection to Postgres: {first_line}. Check that it runs and that BRAINTUMOR_DATABASE_URL or "
            "the Airflow connection braintumor_db_<role> names it."
        )
    hint = " Run `braintumor migrate` first." if "does not exist" in first_line else ""
    sqlstate = getattr(error, "pgcode", None)
    return DatabaseError(f"Postgres refused: {first_line}.{hint}", sqlstate=sqlstate)
