"""The command ``braintumor``: a noun, then a verb. JSON with ``--json``, tables for people, exit codes for scripts.

Exit codes: 0 done; 1 an error of ``braintumor.errors``, said on stderr; 2 the command was typed wrongly; 70 a fault of
this program; 75 S3 or Postgres did not answer: try again.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

import click

from braintumor.config.variables import LOG_FORMAT
from braintumor.errors import TRY_AGAIN, BrainTumorError, DatabaseUnreachableError, ObjectStoreUnreachableError

SOFTWARE_FAULT = 70
"""As in sysexits.h."""

_COMMANDS = {
    "bucket": "braintumor.cli.bucket:bucket",
    "config": "braintumor.cli.config:config",
    "dataset": "braintumor.cli.dataset:dataset",
    "doctor": "braintumor.cli.doctor:doctor",
    "migrate": "braintumor.cli.migrate:migrate",
    "model": "braintumor.cli.model:model",
    "phantom": "braintumor.cli.phantom:phantom",
    "predict": "braintumor.cli.predict:predict",
    "prediction": "braintumor.cli.prediction:prediction",
    "query": "braintumor.cli.query:query",
    "rescore": "braintumor.cli.rescore:rescore",
    "scan": "braintumor.cli.scan:scan",
    "score": "braintumor.cli.score:score",
    "subject": "braintumor.cli.subject:subject",
    "train": "braintumor.cli.train:train",
    "weights": "braintumor.cli.weights:weights",
}


class _LazyGroup(click.Group):
    """Imports a command's module when the command is asked for, so that ``--help`` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: Any = getattr(importlib.import_module(module), name)
        return command  # type: ignore[no-any-return]


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="braintumor")
def command() -> None:
    """Batch scoring of brain-tumor MRI. For review, not for diagnosis.

    Settings come from the environment: BRAINTUMOR_DATABASE_URL, BRAINTUMOR_S3_ENDPOINT and others.
    """
    if LOG_FORMAT.read():
        from braintumor.logs import configure

        configure(sys.stderr)


def main() -> None:
    """Run the command; a ``BrainTumorError`` becomes one clear line on stderr and an exit code."""
    try:
        command()
    except BrainTumorError as error:
        click.echo(f"braintumor: {error}", err=True)
        sys.exit(TRY_AGAIN if isinstance(error, ObjectStoreUnreachableError | DatabaseUnreachableError) else 1)
    except Exception:
        traceback.print_exc()
        sys.exit(SOFTWARE_FAULT)
