"""Compare the rights of a role in sql/grants.sql with the rights of the current login."""

from __future__ import annotations

import re

from sqlalchemy import Connection

from braintumor.config.roles import Role
from braintumor.db.database import SCHEMA, sql_folder
from braintumor.db.statements import statement
from braintumor.db.views import definitions, statements_of

_GRANT = re.compile(r"grant ([\w, ]+?) on (sequence )?([\w,\s]+?) to ([\w,\s]+)")
_EXECUTE = re.compile(r"grant execute on function (.+) to ([\w,\s]+)")
_FUNCTION = re.compile(r"braintumor\.(\w+)\(")


def granted(role: Role) -> set[tuple[str, str]]:
    """Return the role's rights on tables and sequences in sql/grants.sql, as pairs such as (``scan``, ``select``)."""
    rights: set[tuple[str, str]] = set()
    for grant in _statements():
        match = _GRANT.fullmatch(grant)
        if match is None or match[3].startswith("schema "):
            continue
        verbs, relations, roles = (re.split(r"\s*,\s*", match[part].strip()) for part in (1, 3, 4))
        if role.in_database in roles:
            rights |= {(relation, verb) for relation in relations for verb in verbs}
    return rights


def granted_functions(role: Role) -> list[str]:
    """Return the names of the functions that sql/grants.sql allows the role to execute."""
    matches = filter(None, map(_EXECUTE.fullmatch, _statements()))
    ours = [match[1] for match in matches if role.in_database in re.split(r"\s*,\s*", match[2].strip())]
    return [name for functions in ours for name in _FUNCTION.findall(functions)]


def _views() -> list[str]:
    """Return the names of the views in sql/views. Others may have added more views to the schema."""
    created = definitions(statements_of(sql_folder() / "views"))
    return [definition.name for definition in created if definition.kind == "view"]


def _statements() -> list[str]:
    """Return the statements of sql/grants.sql, without comments and ``$$`` blocks."""
    without_comments = re.sub(r"--.*", "", (sql_folder() / "grants.sql").read_text())
    without_blocks = re.sub(r"\$\$.*?\$\$", "", without_comments, flags=re.DOTALL)
    return [" ".join(statement.split()) for statement in without_blocks.split(";")]


def lacking(connection: Connection, role: Role) -> list[str]:
    """Return the role's rights on existing objects that the login lacks, such as ``select on scan``."""
    pairs = sorted(granted(role))
    values = {
        "schema": SCHEMA,
        "relations": [pair[0] for pair in pairs],
        "verbs": [pair[1] for pair in pairs],
        "functions": granted_functions(role),
        "views": _views(),
    }
    missing = connection.scalars(statement("doctor/lacking_rights"), values).all()
    # tables first, because only the first few are shown
    return sorted(missing, key=lambda right: right.startswith("execute "))
