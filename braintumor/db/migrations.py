"""Bring the schema ``braintumor`` up to date: numbered SQL files, each applied once with its record.

A migration and its record commit together; its checksum is kept, so that a file changed after it was applied is
noticed. Views and functions follow in the same transaction (``views.py``), and the roles' grants. An advisory lock lets
only one migration run at a time. Postgres makes readers wait behind a statement that waits for a lock. So ``migrate``
waits only briefly, gives everything back, and tries again.

A migration whose first line begins with ``-- additive:`` says that code of before it can go on: it only adds, and so do
the views that come with it. That word is kept in the database, where older code finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from time import sleep
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, Row, exc, text

from braintumor.db import roles
from braintumor.db.database import SCHEMA, run_script, sql_folder, transaction
from braintumor.db.views import Views
from braintumor.errors import MigrationError

_LOCK = 7_203_611
"""Any constant number: it names our advisory lock."""

LOCK_SECONDS, PAUSE_SECONDS, TRIES = 2, 4, 8
"""How long a statement waits for a lock, the pause after that, and how often all is tried: under a minute in all."""

_BUSY = {"55P03", "40P01"}
"""SQLSTATE of a lock that was not available in time, and of a deadlock."""

_IN_THE_WAY = {"2BP01", "0A000", "42P07", "42P16"}
"""SQLSTATE where a view or function depends on what a migration changes, or has the name of a new table."""

_ADDITIVE = "-- additive:"


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered file."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """sha256 of the file's text."""
        return sha256(self.sql.encode()).hexdigest()

    @property
    def is_additive(self) -> bool:
        """Whether code that does not know it can work on."""
        return self.sql.startswith(_ADDITIVE)


def available() -> list[Migration]:
    """Every migration file, in order."""
    return [Migration(name=p.stem, sql=p.read_text()) for p in sorted((sql_folder() / "migrations").glob("*.sql"))]


def plan(engine: Engine) -> list[Migration]:
    """The migrations that ``migrate`` would apply now.

    Raises:
        MigrationError: an applied file has changed, or the database is ahead of this version.
    """
    with transaction(engine) as connection:
        return _pending(connection)


def migrate(
    engine: Engine, *, drop_dependents: bool = False, say: Callable[[str], object] = lambda _: None
) -> list[Migration]:
    """Apply what is pending, update views and grants that differ, and return what was applied.

    Where the roles are there, or the login may make them, everything is owned by the role that owns, and granted.
    ``drop_dependents`` allows to drop objects of others that depend on a view which has to be dropped. ``say`` gets one
    line for each of these objects, and for each login whose sessions have no limits.

    Raises:
        MigrationError: objects of others are in the way, or other sessions do not release their locks.
    """
    for _ in range(TRIES):
        told: list[str] = []
        try:
            with transaction(engine) as connection, _busy_told_apart():
                applied = _migrate_once(connection, drop_dependents, told)
        except _BusyError:
            sleep(PAUSE_SECONDS)
            continue
        for words in told:
            say(words)
        return applied
    raise MigrationError(
        f"Other sessions kept their locks during {TRIES} tries, so nothing was changed. "
        f"Sessions that hold locks in the schema now: {_holders(engine) or 'none'}. "
        "End these sessions or wait for them, then run `braintumor migrate` again."
    )


def _migrate_once(connection: Connection, drop_dependents: bool, told: list[str]) -> list[Migration]:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    connection.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
    told += roles.limit_sessions(connection)
    with_roles = roles.prepare(connection)
    if not with_roles:
        connection.execute(text(f"create schema if not exists {SCHEMA}"))
    connection.execute(text(f"set local search_path = {SCHEMA}"))
    _make_record(connection)
    pending = _pending(connection)
    views = Views(connection, sql_folder() / "views")
    for migration in pending:
        _apply(connection, migration, views)
    views.update(is_migrated=bool(pending))
    if views.dropped_others and not drop_dependents:
        raise MigrationError(
            "A view or function must be dropped to change its columns or parameters, and objects of others depend on "
            f"it: {', '.join(views.dropped_others)}. Nothing was changed. Keep their definitions and run `braintumor "
            "migrate --drop-dependents` to drop them, then create them again."
        )
    told += [f"dropped {dropped}" for dropped in views.dropped_others]
    if with_roles:
        run_script(connection, (sql_folder() / "grants.sql").read_text())
    return pending


def _make_record(connection: Connection) -> None:
    """Create the table of migrations, or its last column, only where it is missing: a change would lock readers out."""
    if connection.scalar(text("select to_regclass('migration')")) is None:
        connection.execute(
            text("""
            create table migration (
                migration_name text primary key,
                checksum       text not null,
                applied_at     timestamptz not null default now()
            )""")
        )
    has_column = "select from pg_attribute where attrelid = to_regclass('migration') and attname = 'is_additive'"
    if not connection.scalar(text(f"select exists ({has_column})")):
        connection.execute(text("alter table migration add column is_additive boolean not null default false"))


def require_current(engine: Engine) -> None:
    """Refuse to work on a schema that is behind, or ahead by more than additive migrations.

    Raises:
        MigrationError: a migration is pending, an applied file has changed, or the database is too far ahead.
    """
    with transaction(engine) as connection:
        pending = _pending(connection, may_be_ahead=True)
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise MigrationError(f"The database lacks these migrations: {names}. Run `braintumor migrate` first.")


def _apply(connection: Connection, migration: Migration, views: Views) -> None:
    """Apply a migration; where a view of ours prevents it, drop the views first."""
    if not _is_run(connection, migration):
        views.drop_all()
        if not _is_run(connection, migration):
            _refuse(connection, migration)
    connection.execute(
        text("insert into migration (migration_name, checksum, is_additive) values (:name, :checksum, :is_additive)"),
        {"name": migration.name, "checksum": migration.checksum, "is_additive": migration.is_additive},
    )


def _refuse(connection: Connection, migration: Migration) -> None:
    """Raise an error that names the objects in the way, or that of Postgres where there are none."""
    others = connection.scalars(text(_READERS), {"schema": SCHEMA}).all()
    if not others:
        run_script(connection, migration.sql)
    raise MigrationError(
        f"Migration {migration.name} changes a table that objects of others depend on. Nothing was changed. "
        f"Objects in the way: {', '.join(others)}. Keep their definitions, drop them, run `braintumor migrate`, and "
        "create them again."
    )


def _is_run(connection: Connection, migration: Migration) -> bool:
    """Run the file; ``False``, with nothing done, where an object that depends on a table prevents it."""
    savepoint = connection.begin_nested()
    try:
        run_script(connection, migration.sql)
    except psycopg2.Error as error:
        savepoint.rollback()
        if error.pgcode not in _IN_THE_WAY:
            raise
        return False
    savepoint.commit()
    return True


@contextmanager
def _busy_told_apart() -> Iterator[None]:
    """Raise ``_BusyError`` where another session's lock ended a statement."""
    try:
        yield
    except (exc.DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        if getattr(cause, "pgcode", None) in _BUSY:
            raise _BusyError from None
        raise


class _BusyError(Exception):
    """Another session holds a lock that is needed."""


def _holders(engine: Engine) -> str:
    with transaction(engine) as connection:
        rows = connection.execute(text(_HOLDERS), {"schema": SCHEMA}).all()
    return ", ".join(f"pid {row.pid} of login {row.usename}" for row in rows)


def _pending(connection: Connection, *, may_be_ahead: bool = False) -> list[Migration]:
    applied = _applied(connection)
    files = available()
    for migration in files:
        if migration.name in applied and applied[migration.name].checksum != migration.checksum:
            raise MigrationError(
                f"Migration {migration.name} was changed after it was applied. "
                "Restore the file and put the change into a new migration."
            )
    ahead = sorted(applied.keys() - {migration.name for migration in files})
    if ahead and not (may_be_ahead and all(applied[name].is_additive for name in ahead)):
        raise MigrationError(f"The database is ahead of this version (it has {', '.join(ahead)}). Update braintumor.")
    return [migration for migration in files if migration.name not in applied]


def _applied(connection: Connection) -> dict[str, Row[Any]]:
    if connection.scalar(text("select to_regclass(:name)"), {"name": f"{SCHEMA}.migration"}) is None:
        return {}
    rows = connection.execute(
        text(f"""
        select migration_name, checksum,
               coalesce((to_jsonb(migration) ->> 'is_additive')::boolean, false) as is_additive
        from {SCHEMA}.migration""")  # as JSON: a database of before that column lacks it
    )
    return {row.migration_name: row for row in rows}


_READERS = """
    select distinct
        pg_describe_object('pg_class'::regclass, reader.oid, 0) || ' (owner ' || reader.relowner::regrole || ')'
    from pg_depend
    join pg_rewrite on pg_rewrite.oid = pg_depend.objid and classid = 'pg_rewrite'::regclass
    join pg_class as reader on reader.oid = ev_class
    join pg_class as source on source.oid = refobjid and refclassid = 'pg_class'::regclass
    where source.relnamespace = cast(:schema as regnamespace) and source.relkind = 'r'
    order by 1"""

_HOLDERS = """
    select distinct pg_locks.pid, usename
    from pg_locks
    join pg_stat_activity using (pid)
    join pg_class on pg_class.oid = relation
    where pg_locks.granted and pg_locks.pid <> pg_backend_pid() and relnamespace = to_regnamespace(:schema)
      and database = (select oid from pg_database where datname = current_database())
    order by pid"""
