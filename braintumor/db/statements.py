"""Load the SQL statements in ``sql/statements/``. Shorter ones, up to eight lines, are in the Python modules."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import TextClause, text

from braintumor.db.database import sql_folder


@cache
def statement(name: str, **parts: str) -> TextClause:
    """Return the statement in the file ``sql/statements/<name>.sql``, such as ``scoring/claim_chunk``.

    Values are bound parameters (``:name``). Jinja can include another file: ``{% include "scoring/is_at_work.sql" %}``.
    ``parts`` sets Jinja variables, such as the name of a file to include. Never pass values from outside the program
    there, because Jinja does not quote them.
    """
    environment = Environment(loader=FileSystemLoader(sql_folder() / "statements"), undefined=StrictUndefined)
    return text(environment.get_template(f"{name}.sql").render(parts))
