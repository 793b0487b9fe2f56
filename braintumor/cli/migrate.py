"""Define the command ``braintumor migrate``."""

from __future__ import annotations

import click

from braintumor.config.settings import Settings


@click.command(epilog="Example: braintumor migrate --plan")
@click.option("--plan", "is_plan", is_flag=True, help="Print the pending migrations and apply none.")
@click.option(
    "--dictionary", "is_dictionary", is_flag=True, help="Print the data dictionary in Markdown, and apply no migration."
)
@click.option("--drop-dependents", is_flag=True, help="Drop foreign objects that depend on a dropped view.")
def migrate(is_plan: bool, is_dictionary: bool, drop_dependents: bool) -> None:
    """Update the tables and views in the database, and the rights of each role."""
    from braintumor.db import database, migrations, roles

    if is_plan and (is_dictionary or drop_dependents):
        other = "--dictionary" if is_dictionary else "--drop-dependents"
        raise click.UsageError(f"--plan applies nothing, so it has no use for {other}. Give one of the two.")
    engine = database.connect(Settings.from_environment())
    if is_dictionary:
        from braintumor.db.data_dictionary import dictionary

        click.echo(dictionary(engine), nl=False)
        return
    if is_plan:
        applied = migrations.plan(engine)
    else:
        applied = migrations.migrate(engine, drop_dependents=drop_dependents, report=click.echo)
    for migration in applied:
        click.echo(f"{'would apply' if is_plan else 'applied'} {migration.name}")
    if not applied:
        click.echo("no migration is pending" + ("" if is_plan else "; views and rights are up to date"))
    advice = roles.advice(engine)
    if advice:
        click.echo(advice, err=True)
