"""Run the saved queries. A saved query is a file ``sql/queries/NAME.sql`` with a question in the first line.

The queries read views only, because analysts have no rights on tables.
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
    """Hold a saved query: its name, the question that it answers in plain words, and its SQL."""

    name: str
    question: str
    sql: str


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """Hold the column names and rows of a query. Decimals are converted to floats."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def queries() -> list[Query]:
    """Return all saved queries, sorted by name."""
    saved = []
    for path in sorted((sql_folder() / "queries").glob("*.sql"), key=lambda path: path.stem):
        first, _, sql = path.read_text(encoding="utf-8").partition("\n")
        saved.append(Query(name=path.stem, question=first.removeprefix("-- "), sql=sql))
    return saved


def find_query(name: str) -> Query:
    """Return the saved query with this name. Raises ``QueryError`` if it does not exist."""
    known = {query.name: query for query in queries()}
    if name not in known:
        raise QueryError(f"There is no saved query {name!r}. Saved queries: {', '.join(known)}.")
    return known[name]


def run_query(engine: Engine, name: str) -> QueryResult:
    """Run a saved query in a read-only transaction. Raises ``QueryError`` if no saved query has this name."""
    query = find_query(name)
    with transaction(engine) as connection:
        connection.execute(text("set transaction read only"))
        result = connection.exec_driver_sql(query.sql)
        rows = [[float(cell) if isinstance(cell, Decimal) else cell for cell in row] for row in result]
        return QueryResult(columns=list(result.keys()), rows=rows)


def as_dataframe(engine: Engine, name: str) -> pd.DataFrame:
    """Return the result of a saved query as a data frame, for notebooks.

    >>> as_dataframe(engine, "gliomas-last-week")  # doctest: +SKIP
    """
    return _dataframe(run_query(engine, name))


def write_parquet(path: Path, result: QueryResult) -> None:
    """Write a query result to ``path`` as a Parquet file. Raises ``QueryError`` if pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise QueryError(
            "Parquet needs pyarrow, which is not installed. Run `pip install pyarrow`, or use --csv or --json."
        )
    _dataframe(result).to_parquet(path, index=False)


def _dataframe(result: QueryResult) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(result.rows, columns=list(result.columns))
