"""Former names of commands and options work, with a warning."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from braintumor.cli import command
from braintumor.cli.former_names import COMMANDS, OPTIONS, with_current_names
from braintumor.config.settings import Settings
from tests.conftest import invoke


def find(path: str) -> click.Command:
    """Return the command with this name."""
    found: click.Command = command
    for name in path.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None, path
        found = inner
    return found


@pytest.mark.parametrize(("former", "current"), COMMANDS.items())
def test_former_command_runs_the_current_one(former: str, current: str) -> None:
    done = invoke(Settings(), *former.split(), "--help")
    assert find(current).help and done.exit_code == 0
    assert f"Usage: braintumor {current} " in done.stdout
    assert f"braintumor: {former!r} is now {current!r}." in done.stderr


@pytest.mark.parametrize(
    ("path", "former", "current"),
    [(path, former, current) for path, options in OPTIONS.items() for former, current in options.items()],
)
def test_former_option_becomes_the_current_one(
    path: str, former: str, current: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert current in {option for parameter in find(path).params for option in parameter.opts}
    assert with_current_names([*path.split(), former, "x"]) == [*path.split(), current, "x"]
    assert with_current_names([*path.split(), f"{former}=x=y"]) == [*path.split(), f"{current}=x=y"]
    assert capsys.readouterr().err.count(f"braintumor: {former!r} is now {current!r}.") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["model", "show", "phantom"],
        ["model", "verify", "b"],
        ["score", "--of"],
        ["rescore", "--predicted-by", "b", "--", "--of"],
        ["predict", "bucket", "create"],
        [],
    ],
)
def test_current_names_stay_without_a_warning(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert with_current_names(arguments) == arguments
    assert capsys.readouterr().err == ""


def test_output_of_a_former_command_is_unchanged(tmp_path: Path) -> None:
    former, current = (
        invoke(Settings(), *path.split(), str(tmp_path / name), "--per-class", "1")
        for name, path in (("a", "phantom"), ("b", "dev make-phantoms"))
    )
    assert former.stdout == current.stdout.replace(str(tmp_path / "b"), str(tmp_path / "a"))
    assert "'phantom' is now 'dev make-phantoms'" in former.stderr and current.stderr == ""
