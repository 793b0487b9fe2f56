"""Define the command ``braintumor config``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, print_json, print_table


@click.group()
def config() -> None:
    """List the settings."""


@config.command(epilog="Example: braintumor config show --json")
@click.option("--markdown", "is_markdown", is_flag=True, help="Print docs/configuration.md, without values.")
@as_json
def show(is_json: bool, is_markdown: bool) -> None:
    """Show every setting with its current value and the source of the value. Secrets are masked.

    The command also lists environment variables that look like settings and that nothing reads.
    """
    from braintumor.config import reference

    if is_json and is_markdown:
        raise click.UsageError("--json prints values and --markdown prints the page of docs. Give one of the two.")
    if is_markdown:
        click.echo(reference.page(), nl=False)
        return
    settings, strange = reference.show(), reference.unknown()
    if is_json:
        unknown = [{"name": name, "nearest": nearest} for name, nearest in strange.items()]
        print_json({"settings": [asdict(item) for item in settings], "unknown": unknown})
        return
    for section in dict.fromkeys(item.section for item in settings):
        click.echo(f"\n{section}")
        rows = [(item.name, item.value or "", item.source) for item in settings if item.section == section]
        print_table(("variable", "value", "from"), rows)
    click.echo()
    for name, nearest in strange.items():
        click.echo(f"{name} is set and nothing reads it." + (f" Did you mean {nearest}?" if nearest else ""), err=True)
