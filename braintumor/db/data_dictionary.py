"""Render the data dictionary, docs/data-dictionary.md, from the comments in the database."""

from __future__ import annotations

from itertools import groupby

from sqlalchemy import Engine, Row

from braintumor.db.database import SCHEMA, transaction
from braintumor.db.statements import statement
from braintumor.markdown import table

_HEAD = """# Data dictionary

Every view, table and column of the schema `braintumor`, with its comment in the database (`\\d+` in psql).
`braintumor migrate --dictionary` prints this page, and a test checks that it is current. Do not edit it.
Analysts read the views.
"""


def dictionary(engine: Engine) -> str:
    """Return the data dictionary in Markdown: all views, then all tables, each with its columns."""
    with transaction(engine) as connection:
        rows = connection.execute(statement("db/data_dictionary"), {"schema": SCHEMA}).all()
    parts = [_HEAD]
    for title, kind in (("Views", "v"), ("Tables", "r")):
        parts.append(f"## {title}\n")
        of_kind = [row for row in rows if row.relkind == kind]
        parts += [_relation(list(columns)) for _, columns in groupby(of_kind, key=lambda row: row.relname)]
    return "\n".join(parts)


def _relation(columns: list[Row[tuple[str, ...]]]) -> str:
    first = columns[0]
    rows = [[f"`{column.attname}`", column.type, column.comment or ""] for column in columns]
    return f"### {first.relname}\n\n{first.relation_comment}\n\n{table(['column', 'type', 'meaning'], rows)}"
