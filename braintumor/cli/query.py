"""Define the command ``braintumor query``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from braintumor.cli.show import as_json, print_json, print_table, unwritable
from braintumor.config.airflow_connections import settings_of


@click.command(epilog="Example: braintumor query gliomas-last-week --csv > gliomas.csv")
@click.argument("name", required=False)
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@click.option(
    "--parquet", "parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write Parquet to this file."
)
@as_json
def query(name: str | None, is_csv: bool, parquet: Path | None, is_json: bool) -> None:
    """Run the saved query NAME. Without NAME, list the saved queries.

    The command changes nothing. The saved queries are in sql/queries. For review, not for diagnosis.
    """
    from braintumor.db import database, saved_queries

    if is_csv + is_json + bool(parquet) > 1:
        raise click.UsageError("--csv, --json and --parquet exclude each other.")
    if name is None:
        columns, rows = ["name", "question"], [[known.name, known.question] for known in saved_queries.queries()]
    else:
        result = saved_queries.run_query(database.connect(settings_of("analyst")), name)
        columns, rows = list(result.columns), [list(row) for row in result.rows]
    if parquet:
        try:
            saved_queries.write_parquet(parquet, saved_queries.QueryResult(columns=columns, rows=rows))
        except OSError as exc:
            raise unwritable(parquet, exc, option="--parquet") from exc
        click.echo(f"{len(rows)} rows in {parquet}")
    elif is_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif is_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_plain(cell) for cell in row] for row in rows)
    else:
        print_table(columns, [[_plain(cell) for cell in row] for row in rows])


def _plain(cell: object) -> object:
    """Return a cell for CSV and tables: a list joined with spaces, null as an empty text, any other value unchanged."""
    return "" if cell is None else " ".join(map(str, cell)) if isinstance(cell, list) else cell
