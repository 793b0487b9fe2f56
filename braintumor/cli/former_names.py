"""Replace former names of commands and options. This release warns of them, and the next removes them."""

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
"""For each command, the current names of its renamed options, by former name."""


def with_current_names(arguments: Sequence[str]) -> list[str]:
    """Return the command line with current names. Each former name prints a warning on standard error."""
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
