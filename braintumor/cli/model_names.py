"""Define command-line arguments that name a model by name or number, with shell completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from braintumor.config.airflow_connections import settings_of
from braintumor.errors import BrainTumorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem


def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the model names that begin with ``incomplete``, with the status of each model.

    Return no names if Postgres cannot be used.
    """
    from click.shell_completion import CompletionItem

    from braintumor.db import database
    from braintumor.registry.model_versions import list_models

    try:
        models = list_models(database.connect(settings_of("promoter")))
    except BrainTumorError:
        return []
    return [
        CompletionItem(model.model_name, help=model.standing or None)
        for model in models
        if model.model_name.startswith(incomplete)
    ]


def model_argument(name: str = "name") -> Callable[[Any], Any]:
    """Return a decorator that adds an argument for a model. ``name`` is the name of the function's parameter."""
    return click.argument(name, shell_complete=complete)
