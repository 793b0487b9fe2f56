"""Define the command ``braintumor``. Its subcommands are a noun and then a verb, such as ``braintumor model list``.

``--json`` prints JSON for scripts. Without it, commands print tables.

Exit codes:
    0: done.
    1: an error of ``braintumor.errors``, printed on standard error.
    2: wrong usage.
    70: a fault of this program.
    75: S3 or Postgres is unreachable. The caller can try again.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from braintumor.cli.former_names import with_current_names
from braintumor.config.variables import LOG_FORMAT
from braintumor.errors import TRY_AGAIN, BrainTumorError, DatabaseUnreachableError, ObjectStoreUnreachableError
from braintumor.progress import show_lines

SOFTWARE_FAULT = 70
"""Exit code for a fault of this program (EX_SOFTWARE in sysexits.h)."""

_COMMANDS = (
    "config",
    "dataset",
    "dev",
    "doctor",
    "migrate",
    "model",
    "predict",
    "prediction",
    "query",
    "rescore",
    "scan",
    "score",
    "subject",
    "train",
    "weights",
)
"""Names of the commands. The module ``cli.<name>`` defines the command ``<name>`` as an object of this name."""


class _LazyGroup(click.Group):
    """A group of commands that imports only the module of the requested command, so that ``--help`` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: Any = getattr(importlib.import_module(f"braintumor.cli.{cmd_name}"), cmd_name)
        return command  # type: ignore[no-any-return]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_current_names(args))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="braintumor")
def command() -> None:
    """Batch scoring of brain-tumor MRI. For review, not for diagnosis.

    Settings come from the environment: BRAINTUMOR_DATABASE_URL, BRAINTUMOR_S3_ENDPOINT and others.
    """
    if LOG_FORMAT.read():
        from braintumor.logs import configure

        configure(sys.stderr)
    show_lines(sys.stderr, "braintumor.progress")


def main() -> None:
    """Run the command. Print a ``BrainTumorError`` as one line on standard error, and exit with its code."""
    try:
        command()
    except BrainTumorError as error:
        click.echo(f"braintumor: {error}", err=True)
        sys.exit(TRY_AGAIN if isinstance(error, ObjectStoreUnreachableError | DatabaseUnreachableError) else 1)
    except Exception:
        traceback.print_exc()
        sys.exit(SOFTWARE_FAULT)
