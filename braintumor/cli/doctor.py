"""Define the command ``braintumor doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, print_json
from braintumor.config.variables import TASK_ROLES


@click.command(epilog="Example: braintumor doctor --role scorer")
@click.option(
    "--role", type=click.Choice(TASK_ROLES), help="Check the needs of this role's tasks, with their connection."
)
@as_json
def doctor(role: str | None, is_json: bool) -> None:
    """Check S3, Postgres, the champion, the clock and the disk. The exit code is 1 if a check fails.

    Each line begins with ok, note or wrong. A wrong line states the fault and its fix. The command writes one object
    under the models prefix and deletes this object. It reads Airflow connections only from the environment
    (AIRFLOW_CONN_...).
    """
    from braintumor.config.roles import Role
    from braintumor.doctor.check_result import State
    from braintumor.doctor.installation import Installation
    from braintumor.doctor.run_checks import run_checks

    results = []
    for result in run_checks(Installation.of_environment(Role(role) if role else None)):
        results.append(result)
        if not is_json:
            click.echo(f"{result.state.value:5}  {result.check}: {result.message}")
    if is_json:
        print_json([asdict(result) for result in results])
    if any(result.state is State.WRONG for result in results):
        raise SystemExit(1)
