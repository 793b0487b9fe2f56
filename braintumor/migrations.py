"""Bring the schema ``braintumor`` up to date: numbered SQL files, each applied once with its record.

A migration and its record commit together; its checksum is kept, so that a file changed after it was applied is
noticed. Views hold no data and are dropped and made again, all in one transaction. An advisory lock lets only one
migration run at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from braintumor.database import SCHEMA, run_script, transaction
from braintumor.errors import MigrationError

_LOCK = 7_203_611
"""Any constant number: it names our advisory lock."""


def sql_folder() -> Path:
    """Where the SQL files are: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parent
    return package / "sql" if (package / "sql").is_dir() else package.parent / "sql"


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One numbered file."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """sha256 of the file's text."""
        return sha256(self.sql.encode()).hexdigest()


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
    """Apply what is pending and make the views again; returns what was applied."""
    with transaction(engine) as connection:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(f"create schema if not exists {SCHEMA}"))
        connection.execute(text(f"set local search_path = {SCHEMA}"))
        connection.execute(
            text("""
            create table if not exists migration (
                migration_name text primary key,
                checksum       text not null,
                applied_at     timestamptz not null default now()
            )""")
        )
        pending = _pending(connection)
        _drop_views(connection)
        for migration in pending:
            _apply(connection, migration)
        for view in sorted((sql_folder() / "views").glob("*.sql")):
            run_script(connection, view.read_text())
    return pending


def require_current(engine: Engine) -> None:
    """Refuse to work on a schema that is behind.

    Raises:
        MigrationError: a migration is pending.
    """
    pending = plan(engine)
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise MigrationError(f"The database lacks these migrations: {names}. Run `braintumor migrate` first.")


def _apply(connection: Connection, migration: Migration) -> None:
    run_script(connection, migration.sql)
    connection.execute(
        text("insert into migration (migration_name, checksum) values (:name, :checksum)"),
        {"name": migration.name, "checksum": migration.checksum},
    )


def _pending(connection: Connection) -> list[Migration]:
    applied = _applied(connection)
    files = available()
    for migration in files:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"Migration {migration.name} was changed after it was applied. "
                "Restore the file and put the change into a new migration."
            )
    ahead = sorted(applied.keys() - {migration.name for migration in files})
    if ahead:
        raise MigrationError(f"The database is ahead of this version (it has {', '.join(ahead)}). Update braintumor.")
    return [migration for migration in files if migration.name not in applied]


def _applied(connection: Connection) -> dict[str, str]:
    if connection.scalar(text("select to_regclass(:name)"), {"name": f"{SCHEMA}.migration"}) is None:
        return {}
    rows = connection.execute(text(f"select migration_name, checksum from {SCHEMA}.migration"))
    return {row.migration_name: row.checksum for row in rows}


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
