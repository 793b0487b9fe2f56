"""Define the command ``braintumor train``. The retrain DAG also starts this command, in a separate process."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import asdict
from typing import Any

import click

from braintumor.cli.show import as_json, command_key, print_json
from braintumor.config.airflow_connections import settings_of
from braintumor.progress import show_lines


@click.command(epilog="Example: braintumor train --recipe resnet50_small --set dropout=0.5")
@click.option("--recipe", "recipe_name", required=True, help="A packaged recipe's name, or the path of a .toml file.")
@click.option("--snapshot", "snapshot_id", help="Train on this snapshot. Default: a new snapshot.")
@click.option(
    "--set", "changes", metavar="KEY=VALUE", multiple=True,
    help="Override a value of the recipe, in TOML: epochs=5, augmentation.zoom=0.2, augmentation=false.",
)  # fmt: skip
@click.option("--run-key", help="Name of the retrain run. A retry with the same name reuses its model.")
@as_json
def train(
    recipe_name: str, snapshot_id: str | None, changes: tuple[str, ...], run_key: str | None, is_json: bool
) -> None:
    """Train one recipe, and register the model.

    The training uses the labeled images in S3. The command promotes nothing.
    """
    from braintumor.dataset.take_snapshot import snapshot_of
    from braintumor.training.job import retrain
    from braintumor.training.recipe import Recipe

    recipe, overrides = Recipe.load(recipe_name), _parsed(changes)
    for key in recipe.repeated(overrides):  # refuses wrong values before the snapshot, which takes long
        click.echo(f"--set {key} changes nothing, because the recipe {recipe.name} has this value already", err=True)
    settings = settings_of("trainer")
    show_lines(sys.stderr, "braintumor.training")
    model = retrain(
        settings,
        recipe,
        overrides=overrides,
        snapshot_id=snapshot_id or snapshot_of(settings).snapshot_id,
        run_key=run_key or command_key(),
    )
    if is_json:
        print_json(asdict(model))
    else:
        click.echo(f"{model.model_name} in {model.artifact_uri}")


def _parsed(changes: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of ``--set`` by key, parsed as TOML."""
    try:
        return tomllib.loads("\n".join(changes))
    except tomllib.TOMLDecodeError as exc:
        raise click.BadParameter(
            f"{exc}. Allowed: values such as epochs=5, scaling='unit' or augmentation.zoom=0.2, each key once. "
            f"Received: {', '.join(changes)}. Correct this value.",
            param_hint="--set",
        ) from exc
