from __future__ import annotations

import traceback
from dataclasses import replace

import pytest
from sqlalchemy import text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.errors import ConfigurationError, DatabaseError, DatabaseUnreachableError


def test_an_error_of_copy_is_translated_and_quotes_no_row(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    rows = [(1, "bucket", "Jane_Doe.png", "etag")]
    with (
        pytest.raises(DatabaseError, match="violates foreign key constraint") as caught,
        database.transaction(engine) as connection,
    ):
        database.copy_rows(connection, "scan_location", ["scan_id", "bucket", "key", "etag"], rows)
    shown = "".join(traceback.format_exception(caught.value))
    assert "Traceback" in shown and "Doe" not in shown
    assert caught.value.sqlstate == "23503", "callers tell errors apart by the code and not by words"
    engine.dispose()


@pytest.mark.parametrize("value", [r"\N", "", "a,b", 'a "b"', "a\r\nb", r"\.", r"a\Nb", " a ", "ä", "null", None])
def test_copy_stores_texts_unchanged_and_only_none_as_null(empty_settings: Settings, value: str | None) -> None:
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        connection.execute(text("create temporary table copied (position integer, value text) on commit drop"))
        database.copy_rows(connection, "copied", ["position", "value"], [(1, "x"), (2, value), (3, "y")])
        assert connection.scalars(text("select value from copied order by position")).all() == ["x", value, "y"]
    engine.dispose()


def test_a_broken_connection_is_reported_with_the_remedy(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with (
        pytest.raises(database.DatabaseUnreachableError, match="BRAINTUMOR_DATABASE_URL"),
        database.transaction(engine) as connection,
    ):
        database.run_script(connection, "select pg_terminate_backend(pg_backend_pid())")
    engine.dispose()


def test_a_canceled_statement_is_not_a_broken_connection(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with (
        pytest.raises(DatabaseUnreachableError, match=r"could not do it now: canceling.*disk, memory and locks"),
        database.transaction(engine) as connection,
    ):
        connection.execute(text("set local statement_timeout = 50"))
        connection.execute(text("select pg_sleep(60)"))
    engine.dispose()


def test_a_pooled_connection_that_the_server_ended_is_replaced(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with database.transaction(engine) as connection:
        ended = connection.scalar(text("select pg_backend_pid()"))
    other = database.connect(empty_settings)
    with database.transaction(other) as connection:
        assert connection.scalar(text("select pg_terminate_backend(:pid, 5000)"), {"pid": ended}) is True
    with database.transaction(engine) as connection:
        assert connection.scalar(text("select pg_backend_pid()")) != ended
    engine.dispose()
    other.dispose()


def test_statements_and_idle_transactions_have_a_limit(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings, statement_seconds=1)
    for _ in range(2):  # the second transaction uses the same connection
        with (
            pytest.raises(DatabaseUnreachableError, match="canceling statement due to statement timeout"),
            database.transaction(engine) as connection,
        ):
            connection.execute(text("select pg_sleep(30)"))
    with database.transaction(engine) as connection:
        assert connection.scalar(text("show idle_in_transaction_session_timeout")) == "1s"
    engine.dispose()


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("127.0.0.1:1", ["127.0.0.1"]),
        ("localhost:1", ["localhost", "127.0.0.1", "::1"]),
        ("no-such.invalid", ["no-such"]),
    ],
)
def test_no_error_names_the_databases_host(empty_settings: Settings, host: str, names: list[str]) -> None:
    engine = database.connect(replace(empty_settings, database_url=f"postgresql://a:b@{host}/braintumor"))
    with pytest.raises(DatabaseUnreachableError, match="No usable connection to Postgres") as caught:
        database.transaction(engine).__enter__()
    assert not [name for name in names if name in str(caught.value)]
    with pytest.raises(DatabaseError) as refused, database.transaction(database.connect(empty_settings)) as connection:
        connection.execute(text("select nothing from nowhere"))
    assert "127.0.0.1" not in str(refused.value) and 'relation "nowhere" does not exist' in str(refused.value)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            'connection to server at "db.ward.example" (10.1.2.3), port 5432 failed: FATAL:  no pg_hba.conf entry for '
            'host "10.9.9.9", user "scorer", database "braintumor", no encryption',
            'FATAL:  no pg_hba.conf entry for the host, user "scorer", database "braintumor", no encryption',
        ),
        (
            'could not translate host name "db.ward.example" to address: Name or service not known',
            "could not translate the host to address: Name or service not known",
        ),
        (
            'server certificate for "db.ward.example" does not match host name "10.1.2.3"',
            "server certificate for the host does not match the host",
        ),
        (
            'connection to server at "postgres" (10.1.2.3), port 5432 failed: FATAL:  role "postgres" does not exist',
            'FATAL:  role "postgres" does not exist',
        ),
        ('connection to server on socket "/run/pg/.s.PGSQL.5432" failed: No such file', "No such file"),
    ],
)
def test_server_addresses_in_messages_of_libpq_are_hidden(message: str, shown: str) -> None:
    assert database._without_server(message) == shown


@pytest.mark.parametrize("url", ["bad", "mysql://a:b@db/c"])
def test_invalid_url_names_every_source_of_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="or the role's own variable or Airflow connection"):
        database.connect(Settings(database_url=url))


def test_missing_url_names_no_connection_for_migrate() -> None:
    with pytest.raises(ConfigurationError, match="All commands but `migrate` also read"):
        database.connect(Settings())
