"""Replace former names of commands and options with current names.

Former names work in this release with a warning. The next release removes the former names.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

COMMANDS = {
    "bucket create": "dev create-bucket",
    "phantom": "dev make-phantoms",
    "dataset check": "dataset validate",
    "dataset reviewed": "dataset show-reviewed-labels",
    "dataset verify": "dataset verify-checksums",
}
OPTIONS = {
    "rescore": {"--of": "--predicted-by", "--approve": "--allow-non-champion"},
    "model quantize": {"--changed": "--max-changed", "--lost": "--max-accuracy-loss"},
}
"""Current name of each option by former name, for each command."""


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """Return the command line with current names. Print a warning on standard error for each former name.

    Args:
        arguments: the words after ``braintumor``.
    """
    words = list(arguments)
    for former, current in COMMANDS.items():
        if words[: len(former.split())] == former.split():
            _warn(former, current)
            words[: len(former.split())] = current.split()
            break
    for command, options in OPTIONS.items():
        if words[: len(command.split())] != command.split():
            continue
        for index, word in enumerate(words):
            if word == "--":
                break
            option, equals, value = word.partition("=")
            if option in options:
                _warn(option, options[option])
                words[index] = options[option] + equals + value
    return words


def _warn(former: str, current: str) -> None:
    click.echo(f"braintumor: {former!r} is now {current!r}. The next release removes {former!r}.", err=True)
