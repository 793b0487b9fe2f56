from __future__ import annotations

import traceback

import pytest
from sqlalchemy import text

from braintumor import database
from braintumor.errors import DatabaseError, DatabaseUnreachableError
from braintumor.settings import Settings


def test_what_copy_refuses_is_our_error_and_quotes_no_row(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    rows = [(1, "bucket", "Jane_Doe.png", "etag")]
    with (
        pytest.raises(DatabaseError, match="violates foreign key constraint") as caught,
        database.transaction(engine) as connection,
    ):
        database.copy_rows(connection, "scan_location", ["scan_id", "bucket", "key", "etag"], rows)
    said = "".join(traceback.format_exception(caught.value))
    assert "Traceback" in said and "Doe" not in said
    assert caught.value.sqlstate == "23503", "callers tell errors apart by the code and not by words"
    engine.dispose()


def test_a_connection_that_breaks_in_the_middle_is_named_with_the_remedy(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with (
        pytest.raises(database.DatabaseUnreachableError, match="BRAINTUMOR_DATABASE_URL"),
        database.transaction(engine) as connection,
    ):
        database.run_script(connection, "select pg_terminate_backend(pg_backend_pid())")
    engine.dispose()


def test_what_postgres_cannot_do_just_now_is_not_taken_for_a_broken_connection(empty_settings: Settings) -> None:
    engine = database.connect(empty_settings)
    with (
        pytest.raises(DatabaseUnreachableError, match=r"could not do it now: canceling.*disk, memory and locks"),
        database.transaction(engine) as connection,
    ):
        connection.execute(text("set local statement_timeout = 50"))
        connection.execute(text("select pg_sleep(60)"))
    engine.dispose()
