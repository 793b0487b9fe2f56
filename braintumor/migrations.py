"""Bring the schema ``braintumor`` up to date: numbered SQL files, each applied once with its record.

A migration and its record commit together; its checksum is kept, so that a file changed after it was applied is
noticed. Views hold no data and are dropped and made again, and the roles' grants with them, all in one transaction. An
advisory lock lets only one migration run at a time.

A migration whose first line begins with ``-- additive:`` says that code of before it can go on: it only adds, and so do
the views that come with it. That word is kept in the database, where older code finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from braintumor import roles
from braintumor.database import SCHEMA, run_script, sql_folder, transaction
from braintumor.errors import MigrationError

_LOCK = 7_203_611
"""Any constant number: it names our advisory lock."""

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


def migrate(engine: Engine) -> list[Migration]:
    """Apply what is pending, make the views and grants again; returns what was applied.

    Where the roles are there, or the login may make them, everything is owned by the role that owns, and granted.
    """
    with transaction(engine) as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        with_roles = roles.prepare(connection)
        if not with_roles:
            connection.execute(text(f"create schema if not exists {SCHEMA}"))
        connection.execute(text(f"set local search_path = {SCHEMA}"))
        connection.execute(
            text("""
            create table if not exists migration (
                migration_name text primary key,
                checksum       text not null,
                applied_at     timestamptz not null default now()
            );
            alter table migration add column if not exists is_additive boolean not null default false""")
        )
        pending = _pending(connection)
        _drop_views(connection)
        for migration in pending:
            _apply(connection, migration)
        for view in sorted((sql_folder() / "views").glob("*.sql")):
            run_script(connection, view.read_text())
        if with_roles:
            run_script(connection, (sql_folder() / "grants.sql").read_text())
    return pending


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


def _apply(connection: Connection, migration: Migration) -> None:
    run_script(connection, migration.sql)
    connection.execute(
        text("insert into migration (migration_name, checksum, is_additive) values (:name, :checksum, :is_additive)"),
        {"name": migration.name, "checksum": migration.checksum, "is_additive": migration.is_additive},
    )


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


def _drop_views(connection: Connection) -> None:
    """Views and the functions they offer hold no data; trigger functions belong to the tables and stay."""
    views = connection.scalars(text("select viewname from pg_views where schemaname = :s"), {"s": SCHEMA}).all()
    for view in views:
        connection.exec_driver_sql(f"drop view if exists {SCHEMA}.{view} cascade")
    functions = connection.scalars(
        text("""
        select oid::regprocedure::text from pg_proc
        where pronamespace = cast(:s as regnamespace) and prorettype <> 'trigger'::regtype"""),
        {"s": SCHEMA},
    ).all()
    for function in functions:
        connection.exec_driver_sql(f"drop function {function} cascade")
