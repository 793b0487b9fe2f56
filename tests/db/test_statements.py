"""Long SQL statements are files in sql/statements/, and each file is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from braintumor.db.statements import statement

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "sql" / "statements"
FILES = {str(path.relative_to(FOLDER).with_suffix("")): path.read_text() for path in FOLDER.rglob("*.sql")}
MODULES = {path: path.read_text() for path in (PROJECT / "braintumor").rglob("*.py")}
MOST_LINES = 8


def docstrings(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else []:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                yield child.value


def long_statements(code: str) -> list[int]:
    """Return the first line of each SQL text of more than eight lines."""
    tree = ast.parse(code)
    prose = set(docstrings(tree))
    lines = []
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        if is_text and node not in prose and re.search(r"\b(select|insert|update|delete)\b", ast.unparse(node)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            lines += [node.lineno] if length > MOST_LINES else []
    return lines


def test_module_contains_no_long_sql_statement() -> None:
    long = {path.name: lines for path, code in MODULES.items() if (lines := long_statements(code))}
    assert not long
    assert long_statements('"""Prose, ' + "\n" * 9 + 'select"""\nquery = """select' + "\n" * 9 + '"""') == [11]


@pytest.mark.parametrize("name", sorted(FILES))
def test_statement_file_has_a_comment_and_is_used(name: str) -> None:
    assert FILES[name].startswith("-- ")
    quoted = re.compile(rf'"{name}(\.sql)?"')
    assert any(quoted.search(text) for text in [*MODULES.values(), *FILES.values()])


def test_statement_includes_other_files() -> None:
    sql = statement("scoring/drift_of_runs", runs="scoring/drift_this_run.sql").text
    assert (
        "where -- Condition" in sql
        and "= :run\n)\nselect" in sql
        and "scoring_run.scoring_run_id = :run" in sql
        and "{" not in sql
    )


def test_statement_without_a_part_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="runs"):
        statement("scoring/drift_of_runs")
