"""``braintumor doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

from braintumor.cli.show import as_json, print_json
from braintumor.config.variables import TASK_ROLES


@click.command(epilog="Example: braintumor doctor --role scorer")
@click.option("--role", type=click.Choice(TASK_ROLES), help="Check what tasks of this role need, connected as them.")
@as_json
def doctor(role: str | None, is_json: bool) -> None:
    """Try what the settings lead to: S3, Postgres, the champion, the clock, the disk. Exit code 1: something is wrong.

    Each line is ok, a note, or what is wrong and what to do. It writes one object under the models prefix, and deletes
    it again. Of Airflow's connections it sees those in the environment (AIRFLOW_CONN_...).
    """
    from braintumor.config.roles import Role
    from braintumor.doctor.check_result import State
    from braintumor.doctor.installation import Installation
    from braintumor.doctor.run_checks import run_checks

    found = []
    for finding in run_checks(Installation.of_environment(Role(role) if role else None)):
        found.append(finding)
        if not is_json:
            click.echo(f"{finding.state.value:5}  {finding.check}: {finding.words}")
    if is_json:
        print_json([asdict(finding) for finding in found])
    if any(finding.state is State.WRONG for finding in found):
        raise SystemExit(1)
