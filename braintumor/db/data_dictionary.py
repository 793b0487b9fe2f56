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
Analysts read the views. The list of views says what a row is, which columns are its key, and which question it answers.
"""


def dictionary(engine: Engine) -> str:
    """Return the data dictionary in Markdown: all views, then all tables, each with its columns."""
    with transaction(engine) as connection:
        rows = connection.execute(statement("db/data_dictionary"), {"schema": SCHEMA}).all()
    relations = [list(columns) for _, columns in groupby(rows, key=lambda row: row.relname)]
    views = [columns for columns in relations if columns[0].relkind == "v"]
    tables = [columns for columns in relations if columns[0].relkind == "r"]
    summary = table(["view", "what a row is", "key", "example question"], map(_summary, views))
    return "\n".join([_HEAD, "## Views\n", summary, *map(_relation, views), "## Tables\n", *map(_relation, tables)])


def _summary(columns: list[Row[tuple[str, ...]]]) -> list[str]:
    """Return a view's name, the meaning of a row, its key and an example question, from the view's comment."""
    purpose, _, rest = columns[0].relation_comment.partition(" Key: ")
    key, _, example = rest.partition(". Example: ")
    return [f"[`{columns[0].relname}`](#{columns[0].relname})", purpose, key, example]


def _relation(columns: list[Row[tuple[str, ...]]]) -> str:
    first = columns[0]
    rows = [[f"`{column.attname}`", column.type, column.comment or ""] for column in columns]
    return f"### {first.relname}\n\n{first.relation_comment}\n\n{table(['column', 'type', 'meaning'], rows)}"
