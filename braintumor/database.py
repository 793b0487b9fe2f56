"""The one way to Postgres: an engine from the settings, errors in our words, and COPY for rows in bulk."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from braintumor.errors import ConfigurationError, DatabaseError, DatabaseUnreachableError
from braintumor.settings import Settings

SCHEMA = "braintumor"


def connect(settings: Settings) -> Engine:
    """An engine whose connections find the schema ``braintumor`` first; nothing is sent yet."""
    engine = create_engine(_url(settings.require("database_url")), connect_args={"connect_timeout": 10})

    @event.listens_for(engine, "connect")
    def set_search_path(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"set search_path = {SCHEMA}; set time zone 'utc'")
        connection.commit()

    return engine


def _url(text: str) -> URL:
    try:
        url = make_url(text)
    except exc.ArgumentError as error:
        raise ConfigurationError(
            "BRAINTUMOR_DATABASE_URL is not a URL. It looks like postgresql://user:password@host:5432/database."
        ) from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(f"Predictions go to Postgres. Received a URL of {url.get_backend_name()!r}.")
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: all of it or nothing.

    Raises:
        DatabaseUnreachableError: nobody answers at the address, or the connection broke.
        DatabaseError: Postgres refused a statement.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except exc.OperationalError as error:
        raise DatabaseUnreachableError(
            f"No usable connection to Postgres at {_address(engine)}: {_first_line(error)}. "
            "Check that it runs and that BRAINTUMOR_DATABASE_URL or the Airflow connection braintumor_db names it."
        ) from error
    except exc.DBAPIError as error:
        hint = " Run `braintumor migrate` first." if "does not exist" in str(error.orig) else ""
        raise DatabaseError(f"Postgres at {_address(engine)} refused: {_first_line(error)}.{hint}") from error


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Stream rows into a table with COPY, the fastest way in; ``None`` is null."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_MINIMAL)
    writer.writerows(["\\N" if value is None else value for value in row] for row in rows)
    buffer.seek(0)
    statement = f"copy {table} ({', '.join(columns)}) from stdin with (format csv, null '\\N')"
    with closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(statement, buffer)


def run_script(connection: Connection, sql: str) -> None:
    """Run a file of several statements as it is: no parameters, so a ``%`` means itself."""
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(sql)


def _address(engine: Engine) -> str:
    return f"{engine.url.host or 'a local socket'}:{engine.url.port or 5432}/{engine.url.database}"


def _first_line(error: exc.DBAPIError) -> str:
    return str(error.orig).strip().split("\n", maxsplit=1)[0].rstrip(".")
