"""Check that each command in the documents exists, with its options. ``tests/soak`` runs those that can run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from braintumor.cli import command
from devstack.__main__ import command_line
from tests.documents import blocks, commands

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
OTHER_PROGRAMS = {"airflow", "docker", "export", "grep", "helm", "jq", "kubectl", "pg_dump", "pg_restore", "printf",
                  "psql", "set", ".", "eval", "until", "do", "done", "$BRAINTUMOR_DATABASE_URL"}  # fmt: skip
"""Programs of others, whose options are not checked. ``test_recovery`` and ``test_runbook`` run those of Postgres."""
PLACEHOLDERS = {"ID": "1", "CODE": "truncated", "DAY": "2026-03-01"}
"""Values for the placeholders whose option or argument accepts only certain values. Others are texts."""


def documented(page: str) -> Iterator[tuple[list[str], bool]]:
    """Yield the words of each command of a page, and whether it is complete. Sentences may omit required parts."""
    for block in blocks(page, "sh"):
        yield from ((words, True) for words in commands(block))
    for inline in re.findall(r"`((?:\.venv/bin/)?(?:braintumor|python -m|make) [^`]+)`", page):
        yield from ((words, False) for words in commands(inline))


def parse(words: list[str], *, is_complete: bool = True) -> None:
    """Parse a ``braintumor`` command with click, without running it.

    Raises ``click.UsageError`` if the command or an option does not exist, or if the command is to be complete and is
    not.
    """
    current: click.Command = command
    context: click.Context | None = None
    rest = words
    while isinstance(current, click.Group):
        context = current.make_context(current.name, rest, parent=context, resilient_parsing=not is_complete)
        rest = [*context._protected_args, *context.args]
        if not rest:
            return  # a mention of the group, such as `braintumor scan`
        _, found, rest = current.resolve_command(context, rest)
        assert found is not None, f"there is no command {words}"
        current = found
    current.make_context(current.name, rest, parent=context, resilient_parsing=not is_complete)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_documented_command_exists(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scan.jpg").touch()
    targets = re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words, is_complete in documented(path.read_text(encoding="utf-8")):
        after = words[words.index("--") + 1 :] if words[0] == "kubectl" and "--" in words else words
        program, *rest = [PLACEHOLDERS.get(word, word) for word in after]
        match Path(program).name, rest:
            case "braintumor", _:
                parse(rest, is_complete=is_complete)
            case "python", ["-m", "devstack", *arguments]:
                options, unknown = command_line().parse_known_args(arguments)
                assert not unknown or options.command == "psql", words
            case "python", ["-m", module, *_]:
                assert find_spec(module) is not None, words
            case "python", [script, *_]:
                assert (PROJECT / script).is_file(), words
            case "make", made:
                assert set(made) <= set(targets), words
            case _:
                assert program in OTHER_PROGRAMS, words


@pytest.mark.parametrize(
    "words",
    [["score", "--no-such-option"], ["model", "no-such-verb"], ["no-such-noun"], ["model", "withdraw", "NAME"],
     ["scan", "show", "x"], ["score", "a", "b"]],
)  # fmt: skip
def test_a_wrong_command_is_found(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)
