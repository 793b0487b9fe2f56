"""The analysts' cookbook: questions, each a file ``sql/queries/NAME.sql`` whose first line is the question.

They read views only, so that an analyst's role can ask them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, text

from braintumor.db.database import sql_folder, transaction
from braintumor.errors import QueryError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Query:
    """One question and its SQL."""

    name: str
    question: str
    sql: str


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """Column names, and the rows; decimals have become floats."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def queries() -> list[Query]:
    """Every question, by name."""
    found = []
    for path in sorted((sql_folder() / "queries").glob("*.sql")):
        first, _, sql = path.read_text(encoding="utf-8").partition("\n")
        found.append(Query(name=path.stem, question=first.removeprefix("-- "), sql=sql))
    return found


def find_query(name: str) -> Query:
    """The question of a name.

    Raises:
        QueryError: there is none.
    """
    known = {query.name: query for query in queries()}
    if name not in known:
        raise QueryError(f"The cookbook has no question {name!r}. It has: {', '.join(known)}.")
    return known[name]


def run_query(engine: Engine, name: str) -> QueryResult:
    """Ask a question of the cookbook, in a transaction that can only read.

    Raises:
        QueryError: there is no such question.
    """
    query = find_query(name)
    with transaction(engine) as connection:
        connection.execute(text("set transaction read only"))
        result = connection.exec_driver_sql(query.sql)
        rows = [[float(cell) if isinstance(cell, Decimal) else cell for cell in row] for row in result]
        return QueryResult(columns=list(result.keys()), rows=rows)


def as_dataframe(engine: Engine, name: str) -> pd.DataFrame:
    """The same for notebooks.

    >>> as_dataframe(engine, "gliomas-last-week")  # doctest: +SKIP
    """
    return _dataframe(run_query(engine, name))


def write_parquet(path: Path, answer: QueryResult) -> None:
    """Write an answer as Parquet.

    Raises:
        QueryError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise QueryError("Parquet needs pyarrow: pip install pyarrow. --csv and --json do not.")
    _dataframe(answer).to_parquet(path, index=False)


def _dataframe(answer: QueryResult) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(answer.rows, columns=list(answer.columns))
