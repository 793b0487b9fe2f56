"""`braintumor migrate` changes only views that differ, and drops objects of others only with consent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, event, text

from braintumor.config.roles import Role
from braintumor.config.settings import Settings
from braintumor.db import migrations
from braintumor.db.views import statements
from braintumor.errors import DatabaseError, MigrationError
from devstack.stack import Stack
from tests.conftest import as_role
from tests.sql import change, rows

OIDS = """
    select relname::text, oid from pg_class
    where relkind = 'v' and relnamespace = 'braintumor'::regnamespace order by relname"""
STRONG = """
    select distinct relname::text, mode from pg_locks join pg_class on pg_class.oid = relation
    where pid = pg_backend_pid() and relnamespace = 'braintumor'::regnamespace and mode <> 'AccessShareLock'"""


@pytest.fixture
def superuser(stack: Stack, engine: Engine) -> Iterator[psycopg2.extensions.cursor]:
    """Yield a superuser's cursor on the test's database in autocommit mode."""
    url = stack.postgres.url(str(engine.url.database), owner="postgres")
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


@pytest.fixture
def stranger(superuser: psycopg2.extensions.cursor) -> Iterator[str]:
    """Create a role of another team with its own schema and a view on one of our views, and yield its name."""
    name = f"bi_{uuid.uuid4().hex[:8]}"
    superuser.execute(f"create role {name}; create schema {name} authorization {name}")
    superuser.execute(f"grant usage on schema braintumor to {name}; grant select on braintumor.champion to {name}")
    superuser.execute(f"set role {name}")
    superuser.execute(f"create view {name}.report as select model_name from braintumor.champion")
    superuser.execute("reset role")
    yield name
    superuser.execute(f"drop owned by {name} cascade; drop role {name}")


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "views" / file
    sql = path.read_text()
    assert sql.count(old) == 1
    path.write_text(sql.replace(old, new))


def insert_column(folder: Path) -> None:
    """Insert a column of champion before its last, so that the view cannot be replaced in place."""
    edit(
        folder,
        "10_champion.sql",
        "    newest.action::text as action,",
        "    1 as place,\n    newest.action::text as action,",
    )


def append_column(folder: Path) -> None:
    edit(folder, "10_champion.sql", "    newest.promoted_at\n", "    newest.promoted_at,\n    1 as place\n")


def changed_views(settings: Settings, before: list[tuple[object, ...]]) -> set[object]:
    return {name for name, _ in set(rows(settings, OIDS)) ^ set(before)}


def test_a_second_migration_takes_no_strong_lock(empty_settings: Settings, engine: Engine) -> None:
    before = rows(empty_settings, OIDS)
    locks: list[tuple[object, ...]] = []

    @event.listens_for(engine, "commit")
    def record_locks(connection: Connection) -> None:
        locks.extend(tuple(row) for row in connection.execute(text(STRONG)))

    assert migrations.migrate(engine) == []
    assert locks == []
    assert rows(empty_settings, OIDS) == before


def test_a_second_migration_does_not_wait_for_a_reader(
    empty_settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 60)
    with closing(psycopg2.connect(empty_settings.require("database_url"))) as reader, reader.cursor() as cursor:
        cursor.execute("set search_path = braintumor")
        for name, _ in rows(empty_settings, OIDS):
            cursor.execute(f"select * from {name} limit 0")
        for (name,) in rows(empty_settings, "select tablename::text from pg_tables where schemaname = 'braintumor'"):
            cursor.execute(f"select * from {name} limit 0")
        start = time.monotonic()
        assert migrations.migrate(engine) == []
        assert time.monotonic() - start < migrations.LOCK_SECONDS


def test_a_new_last_column_keeps_dependents_and_grants(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    before = rows(empty_settings, OIDS)
    append_column(folder)
    migrations.migrate(engine)
    assert changed_views(empty_settings, before) == set()
    assert rows(empty_settings, "select place from champion") == []
    superuser.execute(f"set role {stranger}")
    superuser.execute(f"select * from {stranger}.report")
    superuser.execute("select * from braintumor.champion")
    superuser.execute("reset role")


def test_a_change_with_the_same_columns_keeps_the_view(empty_settings: Settings, engine: Engine, folder: Path) -> None:
    before = rows(empty_settings, OIDS)
    edit(folder, "42_model_slice.sql", "evaluation_slice.count_group >= 20", "evaluation_slice.count_group >= 30")
    migrations.migrate(engine)
    assert changed_views(empty_settings, before) == set()
    assert "30" in rows(empty_settings, "select pg_get_viewdef('braintumor.model_slice'::regclass)")[0][0]


def test_a_dropped_view_keeps_grants_and_comments(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    superuser.execute(f"drop view {stranger}.report")
    superuser.execute(f"grant select on braintumor.model_status to {stranger} with grant option")
    superuser.execute(f"grant select (model_name, reason) on braintumor.champion to {stranger}")
    superuser.execute(f"grant select on braintumor.daily_summary to {stranger}")
    before, comments = rows(empty_settings, OIDS), rows(empty_settings, _COMMENTS)
    insert_column(folder)
    migrations.migrate(engine)
    assert changed_views(empty_settings, before) == {"champion", "model_status", "model_leaderboard"}
    granted = """
        select has_table_privilege(:who, 'champion', 'select'),
            has_column_privilege(:who, 'champion', 'reason', 'select'),
            has_table_privilege(:who, 'model_status', 'select with grant option'),
            has_table_privilege(:who, 'daily_summary', 'select'),
            has_table_privilege(:who, 'model_leaderboard', 'select')"""
    assert rows(empty_settings, granted, who=stranger) == [(True, True, True, True, False)]
    assert rows(empty_settings, granted, who="braintumor_analyst") == [(True, True, False, True, True)]
    assert set(comments) - set(rows(empty_settings, _COMMENTS)) == set()


_COMMENTS = """
    select relname::text, attname::text, col_description(attrelid, attnum), obj_description(attrelid, 'pg_class')
    from pg_attribute join pg_class on attrelid = pg_class.oid
    where relkind = 'v' and relnamespace = 'braintumor'::regnamespace"""


def test_objects_of_others_are_dropped_only_with_consent(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    superuser.execute(f"create materialized view {stranger}.copied as select * from {stranger}.report")
    superuser.execute(
        f"create function {stranger}.listed() returns setof braintumor.model_status language sql as "
        "'select * from braintumor.model_status'"
    )
    before = rows(empty_settings, OIDS)
    insert_column(folder)
    with pytest.raises(MigrationError) as caught:
        migrations.migrate(engine)
    for named in (
        f"view {stranger}.report (owner {stranger})",
        f"materialized view {stranger}.copied (owner postgres)",
        f"function {stranger}.listed() (owner postgres)",
        "--drop-dependents",
    ):
        assert named in str(caught.value)
    assert rows(empty_settings, OIDS) == before
    superuser.execute(f"select * from {stranger}.report")
    messages: list[str] = []
    migrations.migrate(engine, drop_dependents=True, report=messages.append)
    assert messages == [
        f"dropped function {stranger}.listed() (owner postgres)",
        f"dropped materialized view {stranger}.copied (owner postgres)",
        f"dropped view {stranger}.report (owner {stranger})",
    ]
    superuser.execute("select to_regclass(%s)", (f"{stranger}.report",))
    assert superuser.fetchall() == [(None,)]
    assert migrations.migrate(engine) == []


def test_views_without_a_record_are_replaced_in_place(
    empty_settings: Settings, engine: Engine, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    change(empty_settings, "delete from view_definition")
    before = rows(empty_settings, OIDS)
    assert migrations.migrate(engine) == []
    assert rows(empty_settings, OIDS) == before
    superuser.execute(f"select * from {stranger}.report")
    assert rows(empty_settings, "select count(*) > 30 from view_definition") == [(True,)]


def test_a_function_with_new_parameters_replaces_the_old(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    superuser.execute(f"grant execute on function braintumor.confidence_bin to {stranger}")
    edit(
        folder,
        "02_statistics.sql",
        "create function confidence_bin(confidence double precision) returns",
        "create function confidence_bin(confidence double precision, more integer default 0) returns",
    )
    edit(
        folder,
        "02_statistics.sql",
        "comment on function confidence_bin(double precision)",
        "comment on function confidence_bin(double precision, integer)",
    )
    grants = folder / "grants.sql"
    grants.write_text(
        grants.read_text().replace("confidence_bin(double precision)", "confidence_bin(double precision, integer)")
    )
    before = rows(empty_settings, OIDS)
    migrations.migrate(engine)
    assert changed_views(empty_settings, before) == {"drift_weekly"}
    found = rows(empty_settings, "select oid::regprocedure::text from pg_proc where proname = 'confidence_bin'")
    assert found == [("confidence_bin(double precision,integer)",)]
    ask = "select has_function_privilege(:who, 'confidence_bin(double precision, integer)', 'execute')"
    assert rows(empty_settings, ask, who=stranger) == [(True,)]


def test_a_removed_view_is_dropped_and_views_of_others_stay(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor
) -> None:
    (folder / "views" / "99_extra.sql").write_text("create view extra as select 1 as one; -- a view; of ours")
    migrations.migrate(engine)
    superuser.execute("create view braintumor.by_hand as select 2 as two")
    superuser.execute("create view braintumor.of_owner as select key from braintumor.scan_location")
    superuser.execute("alter view braintumor.of_owner owner to braintumor_owner")
    (folder / "views" / "99_extra.sql").unlink()
    migrations.migrate(engine)
    found = "select to_regclass('extra'), to_regclass('by_hand')::text, to_regclass('of_owner')::text"
    assert rows(empty_settings, found) == [(None, "by_hand", "of_owner")]
    may_read = "select has_table_privilege('braintumor_analyst', name, 'select') from unnest(:names) as name"
    assert rows(empty_settings, may_read, names=["by_hand", "of_owner"]) == [(False,), (False,)]


def test_a_migration_changes_a_column_that_views_read(
    empty_settings: Settings, engine: Engine, folder: Path, superuser: psycopg2.extensions.cursor, stranger: str
) -> None:
    superuser.execute(f"drop view {stranger}.report")
    (folder / "migrations" / "0999_wider.sql").write_text("alter table promotion alter column actor type varchar(99)")
    assert [m.name for m in migrations.migrate(engine)] == ["0999_wider"]
    assert rows(empty_settings, "select has_table_privilege(:who, 'champion', 'select')", who=stranger) == [(True,)]
    superuser.execute("create view public.theirs as select actor from braintumor.promotion")
    (folder / "migrations" / "0999_x.sql").write_text("alter table promotion alter column actor type text")
    with pytest.raises(MigrationError, match=r"0999_x changes a table .* view public\.theirs \(owner postgres\)"):
        migrations.migrate(engine)
    superuser.execute("drop view public.theirs")
    (folder / "migrations" / "0999_y.sql").write_text("create table scan (one int)")
    with pytest.raises(DatabaseError, match='relation "scan" already exists'):
        migrations.migrate(engine)
    (folder / "migrations" / "0999_y.sql").unlink()
    assert [m.name for m in migrations.migrate(engine)] == ["0999_x"]


def test_readers_continue_while_migrate_waits_for_a_lock(
    empty_settings: Settings, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOCK_SECONDS", 1), ("PAUSE_SECONDS", 1), ("TRIES", 3)):
        monkeypatch.setattr(migrations, name, value)
    append_column(folder)
    failures: list[MigrationError] = []

    def run() -> None:
        try:
            migrations.migrate(engine)
        except MigrationError as error:
            failures.append(error)

    with closing(psycopg2.connect(empty_settings.require("database_url"))) as reader, reader.cursor() as cursor:
        cursor.execute(
            "select pg_backend_pid() from (select from braintumor.champion) as c right join (select 1) as o on true"
        )
        pid = cursor.fetchone()[0]
        migrating = Thread(target=run)
        migrating.start()
        slowest = 0.0
        while migrating.is_alive():
            start = time.monotonic()
            rows(empty_settings, "select from champion")
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(0.05)
        migrating.join()
        assert 0.2 < slowest < 4, "a reader waits for one try and not for the idle reader"
        assert len(failures) == 1 and f"pid {pid} of login braintumor" in str(failures[0])
        assert "during 3 tries, so nothing was changed" in str(failures[0])
    assert migrations.migrate(engine) == []
    assert rows(empty_settings, "select place from champion") == []


def test_a_later_try_succeeds_after_the_reader_ends(
    empty_settings: Settings, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 1)
    append_column(folder)
    with closing(psycopg2.connect(empty_settings.require("database_url"))) as reader, reader.cursor() as cursor:
        cursor.execute("select from braintumor.champion")
        monkeypatch.setattr(migrations, "sleep", lambda _seconds: reader.rollback())
        assert migrations.migrate(engine) == []
    assert rows(empty_settings, "select place from champion") == []


SEARCH_PATH = '"$user", braintumor, public'


def test_session_limits_apply_unless_an_operator_set_one(
    stack: Stack, empty_settings: Settings, engine: Engine, superuser: psycopg2.extensions.cursor
) -> None:
    shown = "select current_setting('idle_in_transaction_session_timeout'), current_setting('statement_timeout')"
    assert rows(as_role(stack, empty_settings, Role.ANALYST), shown) == [("5min", "15min")]
    assert rows(as_role(stack, empty_settings, Role.REVIEWER), shown) == [("5min", "1min")]
    assert rows(as_role(stack, empty_settings, Role.SCORER), shown) == [("0", "0")]
    name = f"bi_{uuid.uuid4().hex[:8]}"
    superuser.execute(f"create role {name} login in role braintumor_analyst")
    superuser.execute(f"alter role {name} set statement_timeout = '1h'")
    superuser.execute(f"create role {name}_too login in role braintumor_analyst, braintumor_trainer")
    messages: list[str] = []
    migrations.migrate(engine, report=messages.append)
    superuser.execute((migrations.sql_folder() / "limits.sql").read_text())
    superuser.execute("select rolname, rolconfig from pg_roles where rolname like %s order by 1", (f"{name}%",))
    found = superuser.fetchall()
    superuser.execute(f"drop role {name}; drop role {name}_too")
    assert found == [
        (name, ["statement_timeout=1h", "idle_in_transaction_session_timeout=5min", f"search_path={SEARCH_PATH}"]),
        (f"{name}_too", None),
    ]
    assert messages == [
        f"Login {name} has no {missing}. Have an administrator run sql/limits.sql."
        for missing in ("idle_in_transaction_session_timeout", "search_path")
    ]


def test_sql_is_split_only_at_ends_of_statements() -> None:
    sql = """
        -- a comment; with an end
        create view a as select ';' as b /* or; this */; create function f() returns int language sql
        as $$ select 1; -- inside
        $$; comment on view a is 'it''s; one'; do $body$ begin null; end $body$"""
    assert [" ".join(each.split()) for each in statements(sql)] == [
        "create view a as select ';' as b",
        "create function f() returns int language sql as $$ select 1; -- inside $$",
        "comment on view a is 'it''s; one'",
        "do $body$ begin null; end $body$",
    ]
