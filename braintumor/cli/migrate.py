"""``braintumor migrate``."""

from __future__ import annotations

import click

from braintumor.settings import Settings


@click.command(epilog="Example: braintumor migrate --plan")
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would be applied.")
def migrate(is_plan: bool) -> None:
    """Bring the database schema up to date."""
    from braintumor import database, migrations

    engine = database.connect(Settings.from_environment())
    found = migrations.plan(engine) if is_plan else migrations.migrate(engine)
    for migration in found:
        click.echo(f"{'would apply' if is_plan else 'applied'} {migration.name}")
    if not found:
        click.echo("nothing to apply")
