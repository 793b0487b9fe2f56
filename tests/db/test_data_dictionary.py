from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from braintumor.config.settings import Settings
from braintumor.db import database
from braintumor.db.data_dictionary import dictionary
from braintumor.db.migrations import migrate
from tests.conftest import printed

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"


def undescribed(page: str) -> list[str]:
    """Return relations and ``relation.column`` without a comment."""
    missing = []
    for part in page.split("\n### ")[1:]:
        relation, _, comment, *lines = part.split("\n")
        missing += [relation] if comment == "None" else []
        missing += [
            f"{relation}.{line.split('`')[1]}" for line in lines if line.startswith("| `") and line.endswith("|  |")
        ]
    return missing


def test_every_view_table_and_column_has_a_comment(engine: Engine) -> None:
    assert undescribed(dictionary(engine)) == [], "add a comment in the migration, or in sql/views"


def test_another_migration_keeps_all_comments(engine: Engine) -> None:
    before = dictionary(engine)
    migrate(engine)
    assert dictionary(engine) == before


def test_the_page_is_current(empty_settings: Settings) -> None:
    command = ("migrate", "--dictionary")
    assert printed(empty_settings, *command) == PAGE.read_text(), f"run braintumor {' '.join(command)}"


def test_relations_and_columns_without_a_comment_are_found(engine: Engine) -> None:
    with database.transaction(engine) as connection:
        connection.execute(text("create table bare (a int)"))
    assert undescribed(dictionary(engine)) == ["bare", "bare.a"]
