"""Promote a model in a process that a test kills."""

from __future__ import annotations

import os
import sys

from braintumor import cli
from braintumor.config.settings import Settings
from braintumor.promotion.promote import promote_candidate

APPLICATION = "to be killed"
"""Application name of the connections of these processes."""


def promote_by_command(settings: Settings, *arguments: str) -> None:
    """Run ``braintumor model promote`` with these arguments."""
    _prepare(settings)
    sys.argv = ["braintumor", "model", "promote", *arguments]
    cli.main()


def promote_by_gate(settings: Settings, verdict: int) -> None:
    """Run the task `promote` of a retrain."""
    _prepare(settings)
    promote_candidate(settings, verdict)


def _prepare(settings: Settings) -> None:
    os.environ |= {**settings.to_environment(), "PGAPPNAME": APPLICATION}
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the processes fail on purpose
