"""``braintumor train``: also what the retrain DAG starts, in an interpreter of its own."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, command_key, print_json
from braintumor.settings import Settings


@click.command(epilog="Example: braintumor train --recipe resnet50_small")
@click.option("--recipe", "recipe_name", required=True, help="A packaged recipe's name, or the path of a .toml file.")
@click.option("--snapshot", "snapshot_id", help="Train on this snapshot; without it, one is taken first.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's number.")
@click.option("--run-key", help="Name of the retrain run: a retry under the same name finds its model.")
@as_json
def train(recipe_name: str, snapshot_id: str | None, epochs: int | None, run_key: str | None, is_json: bool) -> None:
    """Train one recipe on the labelled images in S3, and register the model. Promotes nothing."""
    from braintumor.dataset.snapshot import snapshot_of
    from braintumor.modelling.recipe import Recipe
    from braintumor.modelling.retrain import retrain

    recipe = Recipe.load(recipe_name)
    if epochs is not None:
        recipe = recipe.override(epochs=epochs)
    settings = Settings.from_environment()
    model = retrain(
        settings,
        recipe,
        snapshot_id=snapshot_id or snapshot_of(settings).snapshot_id,
        run_key=run_key or command_key(),
        say=lambda words: click.echo(words, err=True),
    )
    if is_json:
        print_json(asdict(model))
    else:
        click.echo(f"{model.model_name} in {model.artefact_uri}")
