"""``braintumor migrate``."""

from __future__ import annotations

import click

from braintumor.config.settings import Settings


@click.command(epilog="Example: braintumor migrate --plan")
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would be applied.")
@click.option("--dictionary", "is_dictionary", is_flag=True, help="Only print the data dictionary, in Markdown.")
@click.option(
    "--drop-dependents", is_flag=True, help="Drop objects of others that depend on a view which has to be dropped."
)
def migrate(is_plan: bool, is_dictionary: bool, drop_dependents: bool) -> None:
    """Bring the database schema up to date: its tables, views, and what each role may do."""
    from braintumor.db import database, migrations, roles

    engine = database.connect(Settings.from_environment())
    if is_dictionary:
        from braintumor.db.data_dictionary import dictionary

        click.echo(dictionary(engine), nl=False)
        return
    if is_plan:
        found = migrations.plan(engine)
    else:
        found = migrations.migrate(engine, drop_dependents=drop_dependents, report=click.echo)
    for migration in found:
        click.echo(f"{'would apply' if is_plan else 'applied'} {migration.name}")
    if not found:
        click.echo("nothing to apply")
    advice = roles.advice(engine)
    if advice:
        click.echo(advice, err=True)
