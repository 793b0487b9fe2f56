"""How commands take a model: by its name or number, and a shell can complete the name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from braintumor.config.airflow_connections import settings_of
from braintumor.errors import BrainTumorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem


def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that begin so, each with where it stands; none, in silence, where Postgres cannot be asked."""
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
    """An argument that names a model."""
    return click.argument(name, shell_complete=complete)
