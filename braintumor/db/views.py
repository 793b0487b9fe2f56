"""Update the views and functions of ``sql/views`` that changed.

"Ours" are the views and functions of ``sql/views``, with a checksum in the table ``view_definition``. All other objects
in the database are "of others".

A changed view or function is replaced in place if Postgres allows it, because this keeps its grants and dependents.
Otherwise it is dropped with all its dependents. Then our dropped objects are created again with their grants. Dropped
objects of others are lost, so the caller must get the operator's consent before it commits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import psycopg2
from sqlalchemy import Connection, text

from braintumor.db.database import SCHEMA, run_script
from braintumor.db.statements import statement

_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|'[^']*'|\"[^\"]*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|(?P<end>;)", re.DOTALL
)
_CREATE = re.compile(r"create\s+(?:or\s+replace\s+)?(view|function)\s+(\w+)")
_NOT_REPLACEABLE = {"42P16", "42P13"}
"""The SQLSTATEs with which Postgres refuses to replace a view or function, for example one that loses a column."""
_IS_MISSING = {"42703", "42P01", "42883", "42704"}
"""The SQLSTATEs of a missing column, table, function or other object, in this order."""
_COMMENTS = "comments"


def statements(sql: str) -> list[str]:
    """Return the statements of an SQL script, without semicolons and without comments outside of quotes."""
    kept = _TOKEN.sub(lambda token: "" if token["comment"] else "\0" if token["end"] else token[0], sql)
    return [statement.strip() for statement in kept.split("\0") if statement.strip()]


def try_script(
    connection: Connection, sql: str, refusals: set[str], *, is_good: Callable[[], bool] = lambda: True
) -> bool:
    """Run an SQL script, and return whether it succeeded. A script that does not succeed is rolled back.

    ``refusals`` are the SQLSTATEs of errors for which the result is ``False``. Any other error is raised. After the
    script, ``is_good`` checks whether the script did what it should.
    """
    savepoint = connection.begin_nested()
    try:
        run_script(connection, sql)
    except psycopg2.Error as error:
        savepoint.rollback()
        if error.pgcode not in refusals:
            raise
        return False
    if is_good():
        savepoint.commit()
        return True
    savepoint.rollback()
    return False


@dataclass(frozen=True, kw_only=True)
class Definition:
    """Hold a statement that creates a view or a function. ``kind`` is ``view`` or ``function``."""

    kind: str
    name: str
    sql: str

    @property
    def key(self) -> str:
        """Return the kind and name, such as ``view champion``."""
        return f"{self.kind} {self.name}"


def definitions(parts: Iterable[str]) -> list[Definition]:
    """Return those statements that create a view or a function."""
    matched = ((_CREATE.match(sql), sql) for sql in parts)
    return [Definition(kind=match[1], name=match[2], sql=sql) for match, sql in matched if match]


def statements_of(folder: Path) -> list[str]:
    """Return the statements of all SQL files of a folder, in the order of the file names."""
    return [sql for path in sorted(folder.glob("*.sql")) for sql in statements(path.read_text())]


class Views:
    """Update our views and functions in one transaction, whose search path must be the schema ``braintumor``.

    ``dropped_others`` has the type, name and owner of each dropped object that is not ours.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        parts = statements_of(folder)
        self._wanted = definitions(parts)
        self._comments = ";\n".join(sql for sql in parts if not _CREATE.match(sql))
        self._recorded = self._read_record()
        self._present = self._existing()
        self._grants: list[str] = []
        self.dropped_others: list[str] = []

    def drop_all(self) -> None:
        """Drop all our views and functions, because a migration changes a table that they read."""
        while self._present:
            self._drop(min(self._present))

    def update(self, *, is_migrated: bool) -> None:
        """Create new views and functions, replace changed ones, and drop those that ``sql/views`` no longer has.

        After a migration (``is_migrated``), write the comments of all views again, because their tables may be new.
        """
        wanted = {definition.key: _checksum(definition.sql) for definition in self._wanted}
        wanted[_COMMENTS] = _checksum(self._comments)
        is_changed = False
        for definition in self._wanted:
            if definition.key not in self._present:
                self._create(definition)
            elif self._recorded.get(definition.key) != wanted[definition.key]:
                self._replace(definition)
            else:
                continue
            is_changed = True
        for key in (self._recorded.keys() - wanted.keys()) & self._present:
            self._drop(key)
        if is_changed or is_migrated or self._recorded.get(_COMMENTS) != wanted[_COMMENTS]:
            self._remove_comments()
            run_script(self._connection, self._comments or "select")
        for grant in self._grants:
            try_script(self._connection, grant, _IS_MISSING)  # a dropped column or function has lost its grants
        self._write_record(wanted)

    def _create(self, definition: Definition) -> None:
        run_script(self._connection, definition.sql)
        self._present.add(definition.key)

    def _replace(self, definition: Definition) -> None:
        replacement = _CREATE.sub(r"create or replace \1 \2", definition.sql, count=1)
        is_single = partial(self._is_single, definition)
        if not try_script(self._connection, replacement, _NOT_REPLACEABLE, is_good=is_single):
            self._drop(definition.key)
            self._create(definition)

    def _is_single(self, definition: Definition) -> bool:
        """Return whether the definition is a view, or the only function of its name.

        If a replacement has other parameters, Postgres keeps the old function too.
        """
        sql = text("select count(*) from pg_proc where pronamespace = cast(:s as regnamespace) and proname = :name")
        count = self._connection.scalar(sql, {"s": SCHEMA, "name": definition.name})
        return definition.kind == "view" or count == 1

    def _drop(self, key: str) -> None:
        """Drop one of our objects with its dependents.

        First the method records our grants, and the names of dependents that belong to others.
        """
        kind, name = key.split()
        values = {"schema": SCHEMA, "kind": kind, "name": name}
        ours = {definition.key for definition in self._wanted} | self._recorded.keys()
        for row in self._connection.execute(statement("db/dependents"), values).all():
            if row.key not in ours:
                self.dropped_others.append(f"{row.type} {row.identity} (owner {row.owner})")
            elif row.grants:
                self._grants += row.grants
        for dropped in self._connection.scalars(text(_OF_NAME), values).all():
            self._connection.exec_driver_sql(f"drop {kind} {dropped} cascade")
        self._present = self._existing()

    def _remove_comments(self) -> None:
        """Remove the comments of our views and their columns, because ``update`` writes all comments again."""
        names = [definition.name for definition in self._wanted if definition.kind == "view"]
        removals = self._connection.scalars(text(_REMOVE_COMMENTS), {"schema": SCHEMA, "names": names}).all()
        run_script(self._connection, ";\n".join(removals) or "select")

    def _existing(self) -> set[str]:
        """Return the keys of our objects that exist in the database."""
        ours = [definition.key for definition in self._wanted] + list(self._recorded)
        return set(self._connection.scalars(text(_EXISTING), {"schema": SCHEMA, "ours": ours}))

    def _read_record(self) -> dict[str, str]:
        if self._connection.scalar(text("select to_regclass(:name)"), {"name": f"{SCHEMA}.view_definition"}) is None:
            return {}
        rows = self._connection.execute(text(f"select object_name, checksum from {SCHEMA}.view_definition"))
        return {row.object_name: row.checksum for row in rows}

    def _write_record(self, wanted: dict[str, str]) -> None:
        if self._recorded == wanted:
            return
        changed = {key: checksum for key, checksum in wanted.items() if self._recorded.get(key) != checksum}
        values = {"names": list(changed), "checksums": list(changed.values()), "all": list(wanted)}
        self._connection.execute(text(_RECORD), values)
        self._connection.execute(text("delete from view_definition where object_name <> all(:all)"), values)


def _checksum(sql: str) -> str:
    return sha256(sql.encode()).hexdigest()


_EXISTING = """
    select key from (
        select 'view ' || relname as key from pg_class
        where relkind = 'v' and relnamespace = cast(:schema as regnamespace)
        union
        select 'function ' || proname from pg_proc where pronamespace = cast(:schema as regnamespace)
    ) as existing
    where key = any(:ours)"""

_OF_NAME = """
    select oid::regclass::text from pg_class
    where :kind = 'view' and relname = :name and relnamespace = cast(:schema as regnamespace)
    union all
    select oid::regprocedure::text from pg_proc
    where :kind = 'function' and proname = :name and pronamespace = cast(:schema as regnamespace)"""


_RECORD = """
    insert into view_definition (object_name, checksum)
    select * from unnest(cast(:names as text[]), cast(:checksums as text[]))
    on conflict (object_name) do update set checksum = excluded.checksum, changed_at = now()"""

_REMOVE_COMMENTS = """
    select case when objsubid = 0 then format('comment on view %s is null', pg_class.oid::regclass)
                else format('comment on column %s.%I is null', pg_class.oid::regclass, attname) end
    from pg_description
    join pg_class on pg_class.oid = objoid and classoid = cast('pg_class' as regclass)
    left join pg_attribute on attrelid = objoid and attnum = objsubid
    where relkind = 'v' and relnamespace = cast(:schema as regnamespace) and relname = any(:names)"""
