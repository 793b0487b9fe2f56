"""Update the schema ``braintumor`` by migrations, which are numbered SQL files. Each file is applied once.

A migration commits together with its row of the table ``migration``, whose checksum detects a later change of the file.
The same transaction updates views, functions (``views.py``) and the grants of the roles. An advisory lock allows only
one ``migrate`` at a time. Postgres makes readers wait behind a statement that waits for a lock. So ``migrate`` waits
briefly for a lock, rolls back, and tries again.

A migration is additive if older code can work with the new schema. Its first line begins with ``-- additive:``. The
table ``migration`` records which migrations are additive, because older code does not have their files.
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
from braintumor.db.statements import statement
from braintumor.db.views import Views, try_script
from braintumor.errors import MigrationError

_LOCK = 7_203_611
"""Arbitrary number that identifies the advisory lock of ``migrate``."""

LOCK_SECONDS, PAUSE_SECONDS, TRIES = 2, 4, 8
"""Longest wait for a lock in seconds, pause between tries in seconds, and number of tries. All take under a minute."""

_BUSY = {"55P03", "40P01"}
"""The SQLSTATEs of a lock timeout and of a deadlock, in this order."""

_HAS_DEPENDENTS = {"2BP01", "0A000", "42P07", "42P16"}
"""The SQLSTATEs of errors because a view or function depends on a changed object or has the name of a new table."""

_ADDITIVE = "-- additive:"

_BEFORE_BASELINE = "0001_main_job"
"""First migration of the development versions before 0.1.0. The baseline replaces their chain of migrations."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """Hold a numbered SQL file. ``name`` is the file name without ``.sql``."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return the hex sha256 of the file's text."""
        return sha256(self.sql.encode()).hexdigest()

    @property
    def is_additive(self) -> bool:
        """Return whether older code, which does not have this migration, can work with the new schema."""
        return self.sql.startswith(_ADDITIVE)


def available() -> list[Migration]:
    """Return all migrations of this program version, in the order of their numbers."""
    return [Migration(name=p.stem, sql=p.read_text()) for p in sorted((sql_folder() / "migrations").glob("*.sql"))]


def plan(engine: Engine) -> list[Migration]:
    """Return the migrations that ``migrate`` would apply now.

    Raises ``MigrationError`` if an applied file has changed, or the database has unknown migrations.
    """
    with transaction(engine) as connection:
        return _pending(connection)


def migrate(
    engine: Engine, *, drop_dependents: bool = False, report: Callable[[str], object] = lambda _: None
) -> list[Migration]:
    """Apply pending migrations, update views and grants, and return the applied migrations.

    If the login can use or create the database roles, the owner role becomes the owner of all objects, and each role
    gets its rights. An object "of others" is one that this program did not create.

    Args:
        engine: Engine of the login that migrates.
        drop_dependents: Whether to drop objects of others that depend on a view or function that must be dropped.
        report: Called with a message for each dropped object of others, and for each login without session limits.

    Raises:
        MigrationError: Objects of others depend on a changed object, other sessions keep their locks, an applied file
            has changed, or the database has unknown migrations.
    """
    for _ in range(TRIES):
        messages: list[str] = []
        try:
            with transaction(engine) as connection, _raises_busy():
                applied = _migrate_once(connection, drop_dependents, messages)
        except _BusyError:
            sleep(PAUSE_SECONDS)
            continue
        for message in messages:
            report(message)
        return applied
    raise MigrationError(
        f"Other sessions kept their locks during {TRIES} tries, so nothing was changed. "
        f"Sessions that hold locks in the schema now: {_holders(engine) or 'none'}. "
        "End these sessions or wait for them, then run `braintumor migrate` again."
    )


def _migrate_once(connection: Connection, drop_dependents: bool, messages: list[str]) -> list[Migration]:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    connection.execute(text(f"set local lock_timeout = '{LOCK_SECONDS}s'"))
    messages += roles.limit_sessions(connection)
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
    messages += [f"dropped {dropped}" for dropped in views.dropped_others]
    if with_roles:
        run_script(connection, (sql_folder() / "grants.sql").read_text())
    return pending


def _make_record(connection: Connection) -> None:
    """Create the table ``migration`` if it is missing."""
    if connection.scalar(text("select to_regclass('migration')")) is None:
        connection.execute(
            text("""
            create table migration (
                migration_name text primary key,
                checksum       text not null,
                applied_at     timestamptz not null default now(),
                is_additive    boolean not null default false
            )""")
        )


def require_current(engine: Engine) -> None:
    """Check that the schema is current, or ahead of this program version by additive migrations only.

    Raises ``MigrationError`` if the schema is neither, or if the file of an applied migration has changed.
    """
    with transaction(engine) as connection:
        pending = _pending(connection, may_be_ahead=True)
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise MigrationError(f"The database lacks these migrations: {names}. Run `braintumor migrate` first.")


def _apply(connection: Connection, migration: Migration, views: Views) -> None:
    """Apply a migration, and insert its record.

    If a view or function prevents the migration, the function drops all views and functions of ``sql/views`` and tries
    again. Raises ``MigrationError`` if objects of others prevent the migration.
    """
    if not try_script(connection, migration.sql, _HAS_DEPENDENTS):
        views.drop_all()
        if not try_script(connection, migration.sql, _HAS_DEPENDENTS):
            _refuse(connection, migration)
    connection.execute(
        text("insert into migration (migration_name, checksum, is_additive) values (:name, :checksum, :is_additive)"),
        {"name": migration.name, "checksum": migration.checksum, "is_additive": migration.is_additive},
    )


def _refuse(connection: Connection, migration: Migration) -> None:
    """Raise ``MigrationError`` with the names of the views of others that prevent a migration.

    If there are no such views, raise Postgres' own error.
    """
    others = connection.scalars(statement("db/views_on_tables"), {"schema": SCHEMA}).all()
    if not others:
        run_script(connection, migration.sql)
    raise MigrationError(
        f"Migration {migration.name} changes a table that objects of others depend on. Nothing was changed. "
        f"Dependent objects: {', '.join(others)}. Keep their definitions, drop them, run `braintumor migrate`, and "
        "create them again."
    )


@contextmanager
def _raises_busy() -> Iterator[None]:
    """Raise ``_BusyError`` in place of a lock timeout or a deadlock in the ``with`` block (a context manager)."""
    try:
        yield
    except (exc.DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        if getattr(cause, "pgcode", None) in _BUSY:
            raise _BusyError from None
        raise


class _BusyError(Exception):
    """Another session has a lock that ``migrate`` needs."""


def _holders(engine: Engine) -> str:
    with transaction(engine) as connection:
        rows = connection.execute(text(_HOLDERS), {"schema": SCHEMA}).all()
    return ", ".join(f"pid {row.pid} of login {row.usename}" for row in rows)


def _pending(connection: Connection, *, may_be_ahead: bool = False) -> list[Migration]:
    applied = _applied(connection)
    if _BEFORE_BASELINE in applied:
        raise MigrationError(
            "The database was made by a development version before 0.1.0, and its migrations were replaced by one "
            f"baseline. It cannot be updated. Run `drop schema {SCHEMA} cascade` in psql, which deletes its data, and "
            "`braintumor migrate` again."
        )
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
        from {SCHEMA}.migration""")  # as JSON, because the first development versions lack the column
    )
    return {row.migration_name: row for row in rows}


_HOLDERS = """
    select distinct pg_locks.pid, usename
    from pg_locks
    join pg_stat_activity using (pid)
    join pg_class on pg_class.oid = relation
    where pg_locks.granted and pg_locks.pid <> pg_backend_pid() and relnamespace = to_regnamespace(:schema)
      and database = (select oid from pg_database where datname = current_database())
    order by pid"""
